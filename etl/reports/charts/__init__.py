"""The charts of the report and the dashboard: queries, colours, and Vega-Lite specifications without data."""
