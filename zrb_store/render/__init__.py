"""What commands print and pages show: values, times and documents as text. Below all edges."""
