DEVICES = (); DTYPES = (); OPERATORS = {}; UNAVAILABLE = "being built"
