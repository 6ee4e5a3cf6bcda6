"""On which machines: blocks, launchers, pinning and the catalogue of known sites."""
