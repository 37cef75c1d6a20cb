"""What commands print and pages show: values, tables, times and messages as text. Below all edges."""
