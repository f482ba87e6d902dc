"""Guards for other people's libraries, one module for each.

Uses the public names of `supervisor` only, and imports a library only when its module is imported.

    httpx          a transport for httpx's clients; httpx2, the same for those of httpx2
    transports     what the two have in common; bodies, how their responses are read
    aiohttp        a middleware for aiohttp's clients
    http           what all of these have in common; origins, which circuit a request goes by
    grpc           interceptors for grpc.aio's channels
    pulled         guarded streams of what a reader asks for, as those of aiohttp and grpc do; and
                   when a call has to be one
    openai         a client of openai's that goes through it; anthropic, one of anthropic's
    sdks           what these two have in common
    completeness   when a stream of a model's is complete, by the shape of its items
    mcp            a guard for the calls of an MCP server's tools, and one for a server's own tools
    tool_results   what a call of a tool counts as, by the shape of its result
    pydantic_ai    models, and tools of its agents
    langchain      models and tools of its agents, by a middleware
    asgi           web applications: a supervisor's lifespan, 503 for refusals, circuits to look at
    tools          what guards of agents' tools have in common
    policies       what all of these add to a policy
    answers        what a model is told of a refusal, in place of a stack trace
"""
