"""What `daskflow demo` shows: a workflow over a folder of Python sources, written as a user would.

::

    measure.py    plain functions: what is known of one file, and of many
    workflow.py   the apps, and how they hang together (the tutorial explains this one)
    page.py       tables and pictures
    terminal.py   loads a kernel, shows the progress and the summary
"""
