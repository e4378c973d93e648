"""What the weight method is made of: saliency, and a patch that comes off again."""
