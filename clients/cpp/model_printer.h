// One served model, for people or as a JSON line.
#pragma once

#include "fma/v1/generation.pb.h"

namespace fmaserver::client {

void PrintModel(const v1::Model& model, bool json);

}  // namespace fmaserver::client
