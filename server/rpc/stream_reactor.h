// A server stream of gRPC for a call of the service: events become messages.
//
// The reactor is the wire of its call, which holds it, and it holds the call until gRPC is done
// with it: it lives until both are done with it.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "server/rpc/deadline.h"
#include "server/rpc/status.h"
#include "server/service/outbox.h"

namespace fmaserver::rpc {

/// When a stream's headers are sent. At once, a client knows that its call was received before a
/// long prompt has been read. With the first message, a refusal comes without any: some clients
/// then take its status for that of the call, and otherwise for a stream that broke.
enum class Headers : uint8_t { kAtOnce, kWithFirstMessage };

/// `StreamedCall` is told of writes and cancellation by OnWritten and OnCancel.
template <class Event, class StreamedCall>
class StreamReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                            public service::EventWire<Event> {
 public:
  /// An event's message, or nothing when it has none. Called for one event after the other.
  using Encode = std::function<std::optional<grpc::ByteBuffer>(const Event&)>;

  /// Hands gRPC a reactor for the call that `start` makes of its wire.
  template <class Start>
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Open(
      const grpc::CallbackServerContext& context, Encode encode, const Start& start,
      Headers headers = Headers::kAtOnce) {
    const std::shared_ptr<StreamReactor> self(
        new StreamReactor(Deadline(context.deadline()), std::move(encode)));
    if (headers == Headers::kAtOnce) self->StartSendInitialMetadata();
    self->call_ = start(self);
    return self.get();
  }

  bool Write(const Event& event) override {
    auto message = encode_(event);
    if (!message.has_value()) return false;
    in_flight_ = *std::move(message);
    StartWrite(&in_flight_);
    return true;
  }
  void Finish(const absl::Status& status) override {
    grpc::ServerWriteReactor<grpc::ByteBuffer>::Finish(ToGrpcStatus(status));
  }

  void OnWriteDone(bool ok) override {
    call_->OnWritten(ok ? absl::OkStatus() : deadline_.WhyCancelled());
  }
  void OnCancel() override { call_->OnCancel(deadline_.WhyCancelled()); }
  void OnDone() override { const auto last = std::move(call_); }

 private:
  StreamReactor(Deadline deadline, Encode encode)
      : deadline_(deadline), encode_(std::move(encode)) {}

  const Deadline deadline_;
  const Encode encode_;
  std::shared_ptr<StreamedCall> call_;
  grpc::ByteBuffer in_flight_;
};

}  // namespace fmaserver::rpc
