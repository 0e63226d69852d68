// The answer to POST /v1/responses: one call of the service, and its events as JSON, streamed or
// whole.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "server/openai/event_stream.h"
#include "server/openai/exchange.h"
#include "server/openai/generate_job.h"
#include "server/openai/hall.h"
#include "server/openai/loop_wire.h"
#include "server/openai/response_form.h"
#include "server/service/generation.h"

namespace fmaserver::openai {

/// Lives on the loop's thread, until its call is over and the answer is sent.
class ResponseAnswer final : public GenerationReader,
                             public std::enable_shared_from_this<ResponseAnswer> {
 public:
  /// Answers `request`, which asked for `job`. `hall` outlives the answer.
  static void Start(Hall& hall, GenerateJob job, Request request,
                    std::shared_ptr<Responder> responder);

  void OnEvent(size_t call, service::GenerateEvent event) override;
  void OnEnd(size_t call, const absl::Status& status) override;

 private:
  ResponseAnswer(Hall& hall, GenerateJob job, Request request,
                 std::shared_ptr<Responder> responder);

  void StartCall();
  void Show(service::GenerateEvent event);
  void ShowText(const std::string& text);
  void Acknowledge(const absl::Status& status);
  void Leave();
  void Complete();
  void Send(std::string whole_or_events);
  void Fail(const absl::Status& status);

  Hall& hall_;
  GenerateJob job_;
  const Request request_;
  const std::shared_ptr<Responder> responder_;
  const std::shared_ptr<const ResponseForm> form_;
  const std::shared_ptr<EventStream> stream_;  // null: the answer is whole
  ResponseEvents events_;
  std::string unsent_;  // events of the stream

  std::shared_ptr<service::Generation> generation_;  // while it runs
  service::Answered answered_;
  bool over_ = false;  // the answer is complete, or nobody wants it
};

}  // namespace fmaserver::openai
