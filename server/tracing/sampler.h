// Decides which calls are traced, and gives those their ids.
#pragma once

#include <memory>

#include "server/service/call_metadata.h"
#include "server/service/call_trace.h"
#include "server/tracing/tracing_options.h"

namespace fmaserver::tracing {

/// The trace of a call with this metadata, which was checked; null: it is not traced. Calls of one
/// trace are all traced or none, also on other servers that sample by the same ratio.
std::shared_ptr<service::CallTrace> Sample(const Sampling& sampling,
                                           const service::CallMetadata& metadata);

}  // namespace fmaserver::tracing
