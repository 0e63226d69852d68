#include "proto/retry_delay.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>

namespace fmaserver {

std::optional<double> RetryDelayIn(const std::string& details) {
  google::rpc::Status status;
  if (!status.ParseFromString(details)) return std::nullopt;
  google::rpc::RetryInfo info;
  for (const auto& detail : status.details()) {
    if (!detail.Is<google::rpc::RetryInfo>() || !detail.UnpackTo(&info)) continue;
    const double seconds = static_cast<double>(info.retry_delay().seconds()) +
                           static_cast<double>(info.retry_delay().nanos()) / 1e9;
    if (seconds >= 0) return seconds;
  }
  return std::nullopt;
}

}  // namespace fmaserver
