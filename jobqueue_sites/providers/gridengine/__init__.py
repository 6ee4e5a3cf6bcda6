"""Grid Engine: Son of Grid Engine, Univa and Altair Grid Engine, Open Cluster Scheduler."""
