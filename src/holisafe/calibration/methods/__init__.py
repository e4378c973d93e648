"""One file a method, found by name through `registry.calibrations`."""
