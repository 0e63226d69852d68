// One Embed or FillMask call: from what a door parsed to the engine, and back as events.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/service/encode_event.h"
#include "server/service/encode_request.h"
#include "server/service/streaming_call.h"

namespace fmaserver::service {

/// See StreamingCall for ownership and threads.
class Encoding final : public StreamingCall<EncodeEvent>,
                       public engine::EncodeSink,
                       public std::enable_shared_from_this<Encoding> {
 public:
  using Parse = std::function<absl::StatusOr<EncodeRequest>()>;

  /// Like Generation::Start, with an encoder.
  static std::shared_ptr<Encoding> Start(Service& service,
                                         const absl::StatusOr<models::ModelPtr>& model,
                                         std::shared_ptr<Call> call, std::shared_ptr<Wire> wire,
                                         size_t bytes, Parse parse);

  bool KeepsUp() const override { return ReaderKeepsUp(); }
  void OnEncoded(engine::EncodedText text) override;
  void OnFinish(const engine::Usage& usage) override;
  void OnError(const absl::Status& status, const engine::Usage& usage) override {
    call().SetUsage(usage);
    Abandon(status);
  }

 private:
  Encoding(Service& service, std::shared_ptr<Call> call, std::shared_ptr<Wire> wire)
      : StreamingCall(service, std::move(call), std::move(wire)) {}

  void Run(const models::ModelPtr& model, absl::StatusOr<EncodeRequest> request);
  void KeepPrompt(const std::vector<Input>& texts);

  std::vector<int64_t> truncated_;  // of each text; set before the engine begins
};

}  // namespace fmaserver::service
