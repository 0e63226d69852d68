// The answer to one completion or chat: one call of the service for each prompt, and their events
// as JSON, streamed or whole.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "server/openai/choice_json.h"
#include "server/openai/event_stream.h"
#include "server/openai/exchange.h"
#include "server/openai/generate_job.h"
#include "server/openai/hall.h"
#include "server/openai/loop_wire.h"
#include "server/openai/part.h"
#include "server/service/generation.h"

namespace fmaserver::openai {

/// Lives on the loop's thread, until all of its calls are over and the answer is sent.
class GenerationAnswer final : public GenerationReader,
                               public std::enable_shared_from_this<GenerationAnswer> {
 public:
  /// A whole answer takes no more memory than about this, and must be streamed otherwise.
  static constexpr size_t kMaxBytes = size_t{64} << 20;

  /// Answers `request`, which asked for `job`. `at_once`: how many prompts run at the same time, at
  /// most. `hall` outlives the answer.
  static void Start(Hall& hall, GenerateJob job, int32_t at_once, Request request,
                    std::shared_ptr<Responder> responder);

  void OnEvent(size_t prompt, service::GenerateEvent event) override;
  void OnEnd(size_t prompt, const absl::Status& status) override;

 private:
  struct Prompt {
    std::shared_ptr<service::Call> call;
    std::shared_ptr<service::Generation> generation;  // while it runs
    int64_t tokens = 0;                               // known with the first event
  };

  GenerationAnswer(Hall& hall, GenerateJob job, int32_t at_once, Request request,
                   std::shared_ptr<Responder> responder);

  // The calls.
  void StartPrompts();
  void StartPrompt(size_t index);
  void CancelAll(const absl::Status& why);

  // What is shown.
  void Show(size_t prompt, service::GenerateEvent event);
  void ShowProgress(size_t prompt, const engine::PromptProgress& progress);
  void ShowPart(size_t prompt, int32_t sample, Part part);
  void Hold(size_t bytes);
  void LetGo();
  void Chunk(Json choices, const Json& extra = Json());
  void Flush(size_t prompt);
  void Acknowledge(size_t prompt, const absl::Status& status);

  // The end.
  void Complete();
  void SendWhole();
  void Fail(const absl::Status& status);
  void EndStream(const std::string& last);

  Json Envelope() const;
  TokenUsage UsageSoFar() const;

  Hall& hall_;
  GenerateJob job_;
  const int32_t at_once_;
  const Request request_;
  const std::shared_ptr<Responder> responder_;
  const std::string id_;
  const int64_t created_;
  const Clock::time_point start_ = Clock::now();

  std::vector<Prompt> prompts_;
  size_t started_ = 0;
  size_t running_ = 0;
  bool over_ = false;  // the answer is complete, or nobody wants it

  std::vector<Part> parts_;   // of a whole answer, by choice
  std::vector<Shown> shown_;  // by choice
  std::vector<bool> echoed_;  // by choice: the text of the prompt stands before the output
  size_t bytes_ = 0;          // of parts_
  std::shared_ptr<EventStream> stream_;  // null: the answer is whole
  std::string events_;                   // of the stream, to be written next
  int64_t completion_tokens_ = 0;
  int64_t cached_tokens_ = 0;
};

}  // namespace fmaserver::openai
