"""Networks to and from the Hugging Face hub: a folder of config.json, model.safetensors and a model card."""

from convnn.hub._card import model_card
from convnn.hub._folder import from_pretrained, push_to_hub, save_pretrained

__all__ = ["from_pretrained", "model_card", "push_to_hub", "save_pretrained"]
