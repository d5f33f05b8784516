"""A model behind HTTP: a queue that draws pictures side by side, an API in OpenAI's form, a page."""
