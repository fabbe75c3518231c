"""What was found, as one page that opens from disk: Plotly figures over trial records."""
