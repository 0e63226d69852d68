// Combines operations of few rows, so that a decode step has fewer launches: an RMS norm with the
// product that reads it, a product with the activation that reads it. With weights that are
// integers in blocks, of any number of rows, a product takes in the norm or the activation that it
// reads. The matrix between the two is then not written, which is correct when a later operation of
// the same list writes it before anything reads it.
#pragma once

#include <vector>

#include "kernels/cuda/operations.h"

namespace fmaserver::kernels::cuda {

std::vector<Operation> Fused(std::vector<Operation> operations);

}  // namespace fmaserver::kernels::cuda
