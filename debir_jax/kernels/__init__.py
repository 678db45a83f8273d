"""What XLA does not do well by itself: convolutions and attention in forms that each platform runs fast."""
