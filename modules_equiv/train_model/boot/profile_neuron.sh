# shellcheck shell=bash
# AWS Trainium: the image brings the driver; here its devices are counted.
accelerator() {
  local found
  found=$(find /dev -maxdepth 1 -name 'neuron[0-9]*' | wc -l)
  ((found == ACCELERATOR_COUNT)) ||
    die "$found of $ACCELERATOR_COUNT Neuron devices: install the driver (aws-neuronx-dkms) or start from a Neuron image"
}
