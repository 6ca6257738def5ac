"""From rows and JSON to tables, pictures, pages and the model card. Knows no network and no photograph."""
