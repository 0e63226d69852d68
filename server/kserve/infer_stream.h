// A ModelStreamInfer call: requests that are answered one after the other.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <mutex>
#include <string>

#include "server/kserve/answers.h"
#include "server/rpc/deadline.h"
#include "server/service/generation.h"
#include "server/service/service.h"

namespace fmaserver::kserve {

/// The wire of each of its requests' calls in turn. A request is read when the one before has been
/// answered: those of a sequence keep their order, and at most one waits in memory. It holds itself
/// until gRPC is done with it, and each call holds it until the engine is done with that.
class InferStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                          public service::EventWire<service::GenerateEvent> {
 public:
  /// Hands gRPC a reactor. A caller that is not admitted gets a status at once.
  static InferStream* Open(service::Service& service, grpc::CallbackServerContext& context);

  bool Write(const service::GenerateEvent& event) override;
  /// The end of one request: an error becomes a message, and the stream goes on.
  void Finish(const absl::Status& status) override;

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  InferStream(service::Service& service, grpc::CallbackServerContext& context)
      : service_(service), context_(context), deadline_(context.deadline()) {}

  void ReadNext() { StartRead(&request_); }
  void Start(std::shared_ptr<service::Call> call);
  void EndStream();
  void Send(const inference::ModelStreamInferResponse& response);
  std::string RequestId() const;
  std::shared_ptr<service::Generation> current();

  std::shared_ptr<InferStream> self_;
  service::Service& service_;
  grpc::CallbackServerContext& context_;
  const rpc::Deadline deadline_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer in_flight_;
  Answers answers_;                       // of the current request
  bool answered_ = false;                 // what is in flight is the last of its request
  std::shared_ptr<service::Call> first_;  // admitted, and waits for its request
  // A thread that reports a write may come before the one that starts the call has stored it.
  std::mutex mutex_;
  std::shared_ptr<service::Generation> call_;  // guarded by mutex_
};

}  // namespace fmaserver::kserve
