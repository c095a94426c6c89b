"""What results are written as: records, HTML pages, figures."""
