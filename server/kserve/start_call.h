// From a message to a call that generates.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <memory>

#include "server/kserve/answers.h"
#include "server/service/generation.h"
#include "server/service/service.h"

namespace fmaserver::kserve {

/// Answers `request`, a ModelInferRequest, on `wire`, which owns `answers`. `answers.form.pieces`
/// says whether there can be several.
std::shared_ptr<service::Generation> StartCall(service::Service& service,
                                               std::shared_ptr<service::Call> call,
                                               const grpc::ByteBuffer& request, Answers& answers,
                                               std::shared_ptr<service::Generation::Wire> wire);

}  // namespace fmaserver::kserve
