"""What changes the input in training: sample by sample on the CPU, batch by batch on the device."""
