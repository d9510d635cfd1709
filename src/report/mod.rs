//! Tables (Polars), plots (Plotters), HTML and Markdown pages.
