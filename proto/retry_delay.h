// When a refused caller may come again, as gRPC's rich errors say it.
#pragma once

#include <optional>
#include <string>

namespace fmaserver {

/// The seconds of the google.rpc.RetryInfo in `details`, a serialized google.rpc.Status
/// (grpc::Status::error_details), which any proxy on the way may have written. Absent when there is
/// none, or it is negative.
std::optional<double> RetryDelayIn(const std::string& details);

}  // namespace fmaserver
