"""Charts as Vega-Lite specifications, each from values of one snapshot."""
