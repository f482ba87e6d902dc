"""The page of circuits in Chromium, with a real server: what its user sees, and can do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.integrations.real.browser import Site, Tab, balanced, browsing
from tests.integrations.real.test_asgi_servers import running
from tests.sharing.fleets import Cut, FaultyStore
from tests.support.worlds import crash, fail_times, is_refused, succeed

NAMES = [
    "</script><img src=x onerror=alert(1)>",
    "a/b",
    "..",
    "a  b",
    "\"quoted\" & 'so'",
    "http://127.0.0.1:80/ü?#%20",
    "long-" * 51,
]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browsing(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


@pytest.fixture
def tab(chromium: Tab) -> Iterator[Tab]:
    """A tab in which the browser has nothing to complain of, such as of what a policy forbids."""
    yield chromium
    complaints = chromium.complaints()
    chromium.open("about:blank")
    assert complaints == []


@pytest.fixture
def site() -> Iterator[Site]:
    """A site where everybody may do everything."""
    with Site(authorize=lambda _: True) as site:
        yield site


def open_it(site: Site, name: str, failures: int = 5, **policy: Any) -> Any:
    """Have a circuit open."""
    breaker = site.circuit(name, failure_threshold=failures, **{"recovery_timeout": 90.0, **policy})
    site.do(fail_times, breaker, failures)
    return breaker


def press(tab: Tab, key: str) -> None:
    """Press a key, wherever it goes to."""
    ActionChains(tab.driver).send_keys(key).perform()


# What is to be seen


def test_the_sentence_says_how_things_stand(tab: Tab, site: Site) -> None:
    """It changes as they do, on a page that is never loaded again."""
    tab.open(site.url)
    tab.says("No circuits yet")
    tab.driver.execute_script("window.mark = 'the same page'")
    search = site.circuit("search")
    tab.says("search: closed")
    payments = open_it(site, "payments")
    seen = tab.until(
        lambda: re.fullmatch(
            r"payments: open for (\d) s after 5 failures, next probe in (\d\d) s", tab.headline
        )
    )
    assert 90 <= int(seen[1]) + int(seen[2]) <= 91
    tab.until(lambda: f"for {int(seen[1]) + 2} s" in tab.headline)
    assert f"in {int(seen[2]) - 2} s" in tab.headline or f"in {int(seen[2]) - 3} s" in tab.headline
    assert tab.driver.title == "payments: open \N{EN DASH} circuits"
    site.do(search.force_open)
    tab.says("2 of 2 circuits not closed: 1 open, 1 forced open; next probe in ")
    site.do(payments.reset)
    tab.until(
        lambda: re.fullmatch(
            r"search: forced open for \d s, refuses every call until it is released", tab.headline
        )
    )
    site.do(search.release)
    tab.says("All 2 circuits closed")
    assert tab.driver.execute_script("return window.mark") == "the same page"


def test_a_circuit_that_comes_back_and_one_that_does_not(tab: Tab, site: Site) -> None:
    """Half-open, and given up."""
    open_it(site, "payments", recovery_timeout=0.5)
    tab.open(site.url)
    tab.until(lambda: re.fullmatch(r"payments: half-open for \d+ s, probes decide", tab.headline))
    site.do(crash, site.supervisor, "payments")
    tab.until(
        lambda: re.fullmatch(r"payments: given up for \d+ s, it refuses every call", tab.headline)
    )
    assert not tab.button("Force open payments").is_enabled()


def test_the_table_has_the_figures(tab: Tab, site: Site) -> None:
    """What needs attention comes first; refusals have their reasons."""
    search, mail = site.circuit("search"), site.circuit("mail", failure_threshold=2)
    tab.open(site.url)
    for _ in range(3):
        site.do(search.call, succeed)
    site.do(fail_times, mail, 1)
    tab.until(lambda: list(tab.rows()) == ["mail", "search"])
    payments = open_it(site, "payments", failures=1)
    assert site.do(is_refused, payments)
    tab.until(lambda: list(tab.rows()) == ["payments", "mail", "search"])
    tab.until(lambda: tab.rows()["payments"][4].split("\n") == ["1", "1 open"])
    state, _, succeeded, failed, _, in_flight, *_ = tab.rows()["payments"]
    assert re.fullmatch(r"open\nfor \d+ s after 1 failure, next probe in \d+ s", state)
    assert (succeeded, failed, in_flight) == ("0", "1", "0")
    tab.until(lambda: tab.rows()["search"][:5] == ["closed", "0", "3", "0", "0"])
    site.do(site.supervisor.stop, "mail")
    tab.until(lambda: list(tab.rows()) == ["payments", "search"])


def test_circuits_that_are_shared(tab: Tab) -> None:
    """Who has opened one, how many there are, and whether their store is reached."""
    store = FaultyStore()
    with Site(sharing=store) as site, Site(sharing=store) as other:
        site.circuit("payments", recovery_timeout=90.0)
        tab.open(site.url)
        tab.until(lambda: "the fleet has 2 supervisors" in tab.text_of("#about"))
        assert list(tab.rows()) == ["payments"]
        open_it(other, "payments", failures=1)
        tab.until(
            lambda: re.fullmatch(
                r"payments: open by the fleet for \d+ s, next probe in \d+ s", tab.headline
            )
        )
        tab.until(lambda: "open by the fleet, was closed" in tab.text_of("#log"))
        store.error = Cut("cut")  # as a beat will notice
        tab.until(lambda: "the fleet is lost: each circuit decides alone" in tab.text_of("#about"))
        tab.until(lambda: "the fleet is lost: each circuit decides" in tab.text_of("#log"))
        store.mend()
        tab.until(lambda: "the fleet is reached, of" in tab.text_of("#log"))
        assert list(tab.rows()) == ["payments"]


def test_a_circuits_course_and_the_list_of_what_has_happened(tab: Tab, site: Site) -> None:
    """Also of what has happened before the page was opened."""
    payments = open_it(site, "payments")
    site.do(payments.reset)
    site.do(payments.force_open)
    tab.open(site.url)
    tab.until(lambda: "started" in tab.text_of("#log"))
    told = [line for line in tab.text_of("#log").splitlines() if line]
    assert [line.partition("payments")[2].strip() for line in told] == [
        "forced open, was closed",
        "closed, was open",
        "open after 5 failures, was closed",
        "started",
    ]
    course = tab.driver.find_element("css selector", ".course")
    states = [
        each.get_attribute("data-state") for each in course.find_elements("css selector", "*")
    ]
    assert states == ["closed", "open", "closed", "forced_open"]
    assert "open for " in course.get_attribute("aria-label")


def test_texts_of_failures(tab: Tab) -> None:
    """Only where the application shows them."""
    for show_failures in (False, True):
        with Site(show_failures=show_failures) as site:
            open_it(site, "payments")
            tab.open(site.url)
            tab.says("payments: open")
            tab.until(lambda: "after 5 failures" in tab.rows()["payments"][0])
            assert ("Down: down" in tab.rows()["payments"][0]) == show_failures


@pytest.mark.parametrize("mount", ["", "/circuits", "/api/v1/circuits"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_wherever_it_is_mounted(tab: Tab, mount: str, slash: str) -> None:
    """With a slash at the end or without."""
    with Site(mount=mount) as site:
        open_it(site, "payments")
        tab.open(site.url + slash)
        tab.says("payments: open for ")
        tab.until(lambda: "started" in tab.text_of("#log"))


def test_names_are_looked_for(tab: Tab, site: Site) -> None:
    """Whatever their case; the sentence is still about all."""
    for name in ("search", "tenant-1", "Tenant-2"):
        site.circuit(name)
    tab.open(site.url)
    tab.until(lambda: len(tab.rows()) == 3)
    field = tab.driver.find_element("css selector", "input")
    assert field.accessible_name == "Filter"
    field.send_keys("TENANT")
    tab.until(lambda: sorted(tab.rows()) == ["Tenant-2", "tenant-1"])
    assert tab.headline == "All 3 circuits closed"
    site.circuit("tenant-3")
    tab.until(lambda: sorted(tab.rows()) == ["Tenant-2", "tenant-1", "tenant-3"])


def test_only_what_differs_is_written(tab: Tab, site: Site) -> None:
    """Of 300 circuits, one is called, and its row alone changes."""
    for number in range(300):
        site.circuit(f"tenant-{number}")
    tab.open(site.url)
    tab.says("All 300 circuits closed")
    tab.until(lambda: len(tab.rows()) == 300 and tab.rows()["tenant-299"][1] == "0")
    tab.driver.execute_script(
        """
        window.changed = new Set();
        const told = (changes) => {
          for (const { target } of changes) {
            const place = target.nodeType === 1 ? target : target.parentElement;
            changed.add(place?.closest("tr")?.cells[0].innerText ?? place?.closest("[id]")?.id);
          }
        };
        const all = { subtree: true, childList: true, characterData: true, attributes: true };
        new MutationObserver(told).observe(document.body, all);
        """
    )
    site.do(site.supervisor["tenant-7"].call, succeed)
    tab.until(lambda: tab.rows()["tenant-7"][2] == "1" and tab.rows()["tenant-7"][1] == "0")
    assert tab.driver.execute_script("return [...changed]") == ["tenant-7"]


# What can be done


def test_circuits_are_changed_by_keyboard(tab: Tab, site: Site) -> None:
    """What has the focus keeps it while its row moves to where it now belongs."""
    site.circuit("mail")
    search = site.circuit("search")
    tab.open(site.url)
    tab.says("All 2 circuits closed")
    for _ in range(20):
        if tab.focused == "Force open search":
            break
        press(tab, Keys.TAB)
    focused = tab.driver.switch_to.active_element
    assert focused.value_of_css_property("outline-style") == "solid"
    press(tab, Keys.ENTER)
    tab.says("search: forced open")
    assert site.do(lambda: search.state) == "forced_open"
    tab.until(lambda: tab.focused == "Release search")
    assert list(tab.rows()) == ["search", "mail"]
    press(tab, Keys.SPACE)
    tab.says("All 2 circuits closed")
    tab.until(lambda: tab.focused == "Force open search")
    site.do(fail_times, search, 3)
    tab.says("search: open")
    press(tab, Keys.TAB)
    assert tab.focused == "Reset search"
    press(tab, Keys.ENTER)
    tab.says("All 2 circuits closed")


def test_names_are_shown_as_they_are_and_can_be_operated(tab: Tab, site: Site) -> None:
    """Nothing in them is taken for HTML, or for a path."""
    for name in NAMES:
        site.circuit(name, failure_threshold=1)
    tab.open(site.url)
    tab.until(lambda: sorted(tab.rows()) == sorted(NAMES))
    for name in NAMES:
        tab.button(f"Force open {name}").click()
        tab.says(f"{name}: forced open")
        tab.button(f"Release {name}").click()
        tab.says(f"All {len(NAMES)} circuits closed")
    assert tab.driver.find_elements("css selector", "img") == []
    wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not tab.driver.execute_script(wide)


def test_without_a_function_that_allows_it_there_are_no_buttons(tab: Tab) -> None:
    """Nor a column for them."""
    with Site() as site:
        site.circuit("search")
        tab.open(site.url)
        tab.says("search: closed")
        assert "By hand" not in tab.text
        assert not any(
            each.is_displayed() for each in tab.driver.find_elements("css selector", "button")
        )


def test_whoever_may_no_more_is_told(tab: Tab) -> None:
    """In words, by an alert; nothing is done."""
    allowed = [True]
    with Site(authorize=lambda _: allowed[0]) as site:
        site.circuit("search")
        tab.open(site.url)
        tab.says("search: closed")
        allowed[0] = False
        tab.button("Force open search").click()
        alert = tab.driver.find_element("css selector", "[role=alert]")
        tab.until(lambda: alert.text == "search: not done, you may not change circuits")
        assert tab.headline == "search: closed"


def test_a_page_of_another_site_can_do_nothing(tab: Tab, site: Site) -> None:
    """Although the browser would tell who its user is: it asks before it sends JSON, and says
    where all else comes from.
    """
    search = site.circuit("search")
    with Site() as other:
        tab.open(f"http://127.0.0.1:{other.port}/")
        for kind in ("text/plain", "application/json"):
            said = tab.driver.execute_async_script(
                """
                const [url, kind, done] = arguments;
                const headers = { "content-type": kind };
                const body = JSON.stringify({ circuit: "search", action: "force_open" });
                const options = { method: "POST", headers, body, credentials: "include" };
                const mode = kind === "text/plain" ? "no-cors" : "cors";
                const said = fetch(url, { ...options, mode });
                said.then(({ type }) => done(type), ({ name }) => done(name));
                """,
                f"{site.url}/",
                kind,
            )
            assert said == {"text/plain": "opaque", "application/json": "TypeError"}[kind]
        (complaint,) = tab.complaints()
        assert "access control" in complaint
    assert site.do(lambda: search.state) == "closed"


# Servers that end, and several at once


def test_the_page_comes_back_with_its_server(tab: Tab) -> None:
    """Meanwhile it says so; then it shows the new process's circuits."""
    with Site() as site:
        open_it(site, "payments")
        tab.open(site.url)
        tab.says("payments: open")
    tab.until(lambda: re.fullmatch(r"No answer since .+; this is how things stood", tab.headline))
    assert list(tab.rows()) == ["payments"]
    with Site(port=site.port) as site:
        site.circuit("search")
        tab.says("search: closed")
        assert list(tab.rows()) == ["search"]
        open_it(site, "mail")
        tab.says("mail: open")


def test_one_of_several_processes_is_shown(tab: Tab, tmp_path: Path) -> None:
    """It is named, and so is another that answers at the same address; that is shown if it ends."""
    with running("uvicorn", tmp_path) as one, running("uvicorn", tmp_path) as other:
        workers = {worker.process.pid: worker for worker in (one, other)}
        for worker in workers.values():
            worker.wait()
        with balanced(one.address[1], other.address[1]) as port:
            tab.open(f"http://127.0.0.1:{port}/circuits")
            both = r"1 circuit of process (\d+), and not (\d+): each has circuits of its own"
            seen = tab.until(lambda: re.fullmatch(both, tab.text_of("#about")))
            shown, not_shown = map(int, seen.groups())
            assert {shown, not_shown} == set(workers)
            workers[shown].process.kill()
            tab.until(lambda: f"of process {not_shown}" in tab.text_of("#about"))


# How it looks, and to whom


@pytest.mark.parametrize("dark", [False, True])
def test_it_can_be_used_by_all(tab: Tab, site: Site, dark: bool) -> None:
    """As far as axe can tell, contrast included; no state is told by its colour alone."""
    open_it(site, "payments")
    open_it(site, "mail", recovery_timeout=0.001)
    site.do(site.circuit("search").force_open)
    site.circuit("orders")
    tab.open(site.url, dark=dark)
    tab.says("3 of 4 circuits not closed: 1 open, 1 forced open, 1 half-open")
    tab.until(lambda: "started" in tab.text_of("#log"))
    ground, ink = (
        sum(
            map(
                int,
                re.findall(
                    r"\d+",
                    tab.driver.find_element("css selector", "body").value_of_css_property(name),
                )[:3],
            )
        )
        for name in ("background-color", "color")
    )
    assert (ground < ink) == dark
    words = {name: cells[0].split("\n")[0] for name, cells in tab.rows().items()}
    assert words == {
        "payments": "open",
        "search": "forced open",
        "mail": "half-open",
        "orders": "closed",
    }
    assert tab.axe() == []


def test_only_the_sentence_is_read_out_and_without_what_ticks(tab: Tab, site: Site) -> None:
    """A screen reader would have no end of it."""
    open_it(site, "payments")
    tab.open(site.url)
    tab.says("payments: open for ")
    live = tab.driver.find_elements("css selector", "[aria-live]")
    assert [(each.tag_name, each.get_attribute("aria-live")) for each in live] == [("h1", "polite")]
    assert live[0].accessible_name == "payments: open after 5 failures"


def test_nothing_moves_for_those_who_do_not_want_it(tab: Tab, site: Site) -> None:
    """By what they have told their system."""
    tab.open(site.url)
    body = tab.driver.find_element("css selector", "body")
    for wish, seconds in (("reduce", "0s"), ("no-preference", "0.4s")):
        motion = {"name": "prefers-reduced-motion", "value": wish}
        tab.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [motion]})
        assert body.value_of_css_property("transition-duration").split(", ")[0] == seconds
