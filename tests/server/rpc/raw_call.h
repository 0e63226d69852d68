// A call of plain bytes, for requests that no generated stub would make.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/support/status.h>

#include <memory>
#include <string>

namespace fmaserver::testing {

struct RawAnswer {
  grpc::Status status;
  std::string bytes;  // the first message
};

/// Sends `request` to `method` ("/package.Service/Method") as the only message.
RawAnswer RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                  const std::string& request);

/// Field `number` of wire type 2 with `bytes` as its value, at most 127 of them.
std::string BytesField(int number, const std::string& bytes);

}  // namespace fmaserver::testing
