"""The page that shows circuits to people: files as they are, without a build step.

files      what a browser is sent, and by which rules it may run
page.html  the frame of the page; page.css and table.css, how it looks; page.svg, its icon
page.js    what the page does; words.js, what it says; table.js, its rows; feed.js, where it all
           comes from
"""

from supervisor.integrations.asgi.page.files import file_of, page_of, prefers_page

__all__ = ["file_of", "page_of", "prefers_page"]
