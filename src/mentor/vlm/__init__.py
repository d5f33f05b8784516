"""Vision-language models that are asked about pictures: behind an address, or on this computer."""
