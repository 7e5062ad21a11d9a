"""For all tests: files with slow ones first, and the seconds that every folder took in the end."""

from collections import Counter
from pathlib import PurePosixPath


def pytest_collection_modifyitems(items):
    """xdist hands files out in this order: a slow one that comes last would run while the other process waits."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_terminal_summary(terminalreporter):
    """Setup, test and teardown together; of several processes the sum."""
    seconds = Counter()
    for reports in terminalreporter.stats.values():
        for report in (report for report in reports if hasattr(report, "duration")):
            folders = PurePosixPath(report.nodeid.partition("::")[0]).parts[:-1]
            seconds["/".join(folders[:2])] += report.duration
    if len(seconds) > 1:
        terminalreporter.section("seconds by folder")
        for folder, total in seconds.most_common():
            terminalreporter.write_line(f"{total:7.0f}  {folder}")
