// Server reflection v1 (grpc.reflection.v1), which new tools ask for first. gRPC brings v1alpha.
#pragma once

#include <string>
#include <vector>

#include "grpc/reflection/v1/reflection.grpc.pb.h"

namespace fmaserver::rpc {

/// Thread-safe. Describes what is linked into the program.
class ReflectionService final : public grpc::reflection::v1::ServerReflection::CallbackService {
 public:
  /// `services` are the full names of those that the server serves.
  explicit ReflectionService(std::vector<std::string> services) : services_(std::move(services)) {}

  using Request = grpc::reflection::v1::ServerReflectionRequest;
  using Response = grpc::reflection::v1::ServerReflectionResponse;

  grpc::ServerBidiReactor<Request, Response>* ServerReflectionInfo(
      grpc::CallbackServerContext* context) override;

  Response Answer(const Request& request) const;

 private:
  const std::vector<std::string> services_;
};

}  // namespace fmaserver::rpc
