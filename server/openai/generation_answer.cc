#include "server/openai/generation_answer.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <variant>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/refusal.h"
#include "base/text.h"
#include "server/openai/errors.h"
#include "server/openai/ignored_fields.h"

namespace fmaserver::openai {

using service::GenerateEvent;

void GenerationAnswer::Start(Hall& hall, GenerateJob job, int32_t at_once, Request request,
                             std::shared_ptr<Responder> responder) {
  const std::shared_ptr<GenerationAnswer> answer(new GenerationAnswer(
      hall, std::move(job), at_once, std::move(request), std::move(responder)));
  if (answer->stream_ != nullptr) answer->stream_->AwaitSilence();
  answer->responder_->OnGone([answer] {
    answer->over_ = true;
    if (answer->stream_ != nullptr) answer->stream_->Stop();
    answer->LetGo();
    answer->CancelAll(absl::CancelledError("the client went away"));
  });
  answer->StartPrompts();
}

GenerationAnswer::GenerationAnswer(Hall& hall, GenerateJob job, int32_t at_once, Request request,
                                   std::shared_ptr<Responder> responder)
    : hall_(hall),
      job_(std::move(job)),
      at_once_(at_once),
      request_(std::move(request)),
      responder_(std::move(responder)),
      id_(Concat(job_.chat ? "chatcmpl-" : "cmpl-", request_.call->request_id())),
      created_(absl::ToUnixSeconds(absl::Now())),
      prompts_(job_.prompts.size()),
      shown_(job_.choices()),
      echoed_(job_.choices()) {
  if (job_.stream) {
    stream_ = std::make_shared<EventStream>(hall, responder_, IgnoredFields(job_.ignored));
  } else {
    parts_.resize(job_.choices());
  }
}

// Not all at once: a list may be longer than the engine's queue.
void GenerationAnswer::StartPrompts() {
  while (!over_ && started_ < prompts_.size() && running_ < static_cast<size_t>(at_once_)) {
    StartPrompt(started_++);
  }
}

void GenerationAnswer::StartPrompt(size_t index) {
  Prompt& prompt = prompts_[index];
  const service::CallKind& kind = job_.chat ? service::kOpenAiChat : service::kOpenAiCompletion;
  prompt.call = index == 0 ? request_.call : hall_.service.Begin(kind, request_.metadata);
  const auto model = prompt.call->admission().ok() ? hall_.service.Find(job_.model, *prompt.call)
                                                   : prompt.call->admission();
  service::GenerateRequest request = job_.request;
  request.prompt = std::move(job_.prompts[index]);
  size_t bytes = 0;
  if (request.prompt.text.has_value()) bytes = request.prompt.text->size();
  if (request.prompt.messages.has_value()) bytes = service::BytesOf(*request.prompt.messages);
  ++running_;
  prompt.generation = service::Generation::Start(
      hall_.service, model, prompt.call,
      std::make_shared<LoopWire<GenerateEvent>>(hall_.loop, shared_from_this(), index), bytes,
      [request = std::move(request)]() mutable { return std::move(request); });
}

void GenerationAnswer::CancelAll(const absl::Status& why) {
  // An end comes later, on the loop.
  for (const Prompt& prompt : prompts_) {
    if (prompt.generation != nullptr) prompt.generation->OnCancel(why);
  }
}

void GenerationAnswer::OnEvent(size_t prompt, GenerateEvent event) {
  if (over_) return Acknowledge(prompt, absl::CancelledError("the answer is over"));
  prompts_[prompt].tokens = prompts_[prompt].call->prompt_tokens();
  Show(prompt, std::move(event));
  if (!over_ && job_.stream) return Flush(prompt);
  Acknowledge(prompt, absl::OkStatus());
}

void GenerationAnswer::Acknowledge(size_t prompt, const absl::Status& status) {
  // Held, because what it does may be its end.
  if (const auto generation = prompts_[prompt].generation) generation->OnWritten(status);
}

void GenerationAnswer::OnEnd(size_t prompt, const absl::Status& status) {
  prompts_[prompt].generation.reset();
  --running_;
  if (over_) return;
  if (!status.ok()) return Fail(status);
  StartPrompts();
  if (running_ == 0 && !over_) Complete();
}

void GenerationAnswer::Show(size_t prompt, GenerateEvent event) {
  if (const auto* progress = std::get_if<engine::PromptProgress>(&event)) {
    ShowProgress(prompt, *progress);
  } else if (auto* tokens = std::get_if<service::PromptTokens>(&event)) {
    const Part part = PartOf(std::move(*tokens), job_);
    for (int32_t i = 0; i < job_.samples(); ++i) ShowPart(prompt, i, part);
  } else if (auto* delta = std::get_if<engine::Delta>(&event)) {
    if (job_.score_only) return;
    completion_tokens_ += std::ssize(delta->tokens);
    const int32_t index = delta->index;
    ShowPart(prompt, index, PartOf(std::move(*delta)));
  } else if (const auto* finished = std::get_if<service::GenerationFinished>(&event)) {
    if (finished->end.index == 0) cached_tokens_ += finished->end.usage.cached_tokens;
    Part part = PartOf(*finished);
    if (job_.score_only) part = {.end = End{.reason = engine::FinishReason::kLength}};
    ShowPart(prompt, finished->end.index, std::move(part));
  }
}

void GenerationAnswer::ShowProgress(size_t prompt, const engine::PromptProgress& progress) {
  if (!job_.stream || !job_.return_progress) return;
  Json reading;
  reading["index"] = prompt;
  reading["total"] = progress.total_tokens;
  reading["processed"] = progress.processed_tokens;
  reading["cache"] = progress.cached_tokens;
  reading["time_ms"] = std::round(SecondsSince(start_) * 1e3);
  Json extra;
  extra["prompt_progress"] = std::move(reading);
  Chunk(Json::array(), extra);
}

void GenerationAnswer::ShowPart(size_t prompt, int32_t sample, Part part) {
  const size_t choice = prompt * static_cast<size_t>(job_.samples()) + static_cast<size_t>(sample);
  if (job_.echo && !echoed_[choice]) {
    echoed_[choice] = true;
    part.text.insert(0, job_.echoes[prompt]);
  }
  if (job_.stream) {
    return Chunk(Json::array({ChoiceOf(job_, static_cast<int64_t>(choice), part, shown_[choice])}));
  }
  Hold(part.bytes());
  parts_[choice].Join(std::move(part));
  if (bytes_ > kMaxBytes) {
    return Fail(Refusal("answer", Words{Concat("more than ", kMaxBytes, " bytes")},
                        "less, or stream = true"));
  }
  if (hall_.answer_bytes <= hall_.max_answer_bytes) return;
  Fail(absl::ResourceExhaustedError(
      "too many answers are being collected already; streams are not"));
}

void GenerationAnswer::Hold(size_t bytes) {
  bytes_ += bytes;
  hall_.answer_bytes += bytes;
}

void GenerationAnswer::LetGo() { hall_.answer_bytes -= std::exchange(bytes_, 0); }

Json GenerationAnswer::Envelope() const {
  const char* object = job_.chat ? "chat.completion" : "text_completion";
  Json json;
  json["id"] = id_;
  json["object"] = job_.chat && job_.stream ? "chat.completion.chunk" : object;
  json["created"] = created_;
  json["model"] = job_.model;
  json["system_fingerprint"] = "fma-server-" FMA_VERSION;
  return json;
}

TokenUsage GenerationAnswer::UsageSoFar() const {
  TokenUsage usage{.completion = completion_tokens_, .cached = cached_tokens_};
  for (const Prompt& prompt : prompts_) {
    usage.prompt += prompt.tokens;
  }
  return usage;
}

void GenerationAnswer::Chunk(Json choices, const Json& extra) {
  Json chunk = Envelope();
  chunk["choices"] = std::move(choices);
  if (!extra.is_null()) chunk.update(extra);
  if (job_.continuous_usage) chunk["usage"] = UsageOf(UsageSoFar());
  events_ += EventOf(TextOf(chunk));
}

void GenerationAnswer::Flush(size_t prompt) {
  if (events_.empty()) return Acknowledge(prompt, absl::OkStatus());
  stream_->Write(std::exchange(events_, {}),
                 [self = shared_from_this(), prompt](const absl::Status& status) {
                   self->Acknowledge(prompt, status);
                 });
}

void GenerationAnswer::Complete() {
  over_ = true;
  if (stream_ == nullptr) return SendWhole();
  if (job_.include_usage) {
    Json chunk = Envelope();
    chunk["choices"] = Json::array();
    chunk["usage"] = UsageOf(UsageSoFar());
    events_ += EventOf(TextOf(chunk));
  }
  EndStream(std::exchange(events_, {}));
}

void GenerationAnswer::SendWhole() {
  // Of what is longer, others would notice the time. The answer must end on the loop's thread, so
  // that the reading thread gives its hold on it away.
  const absl::Status status = hall_.service.Read(bytes_, [self = shared_from_this()]() mutable {
    Json answer = self->Envelope();
    Json& choices = answer["choices"] = Json::array();
    for (size_t i = 0; i < self->parts_.size(); ++i) {
      const Part part = std::exchange(self->parts_[i], {});
      choices.push_back(ChoiceOf(self->job_, static_cast<int64_t>(i), part, self->shown_[i]));
    }
    answer["usage"] = UsageOf(self->UsageSoFar());
    Response response{.body = TextOf(answer), .headers = IgnoredFields(self->job_.ignored)};
    Loop& loop = self->hall_.loop;
    loop.Post([self = std::move(self), response = std::move(response)]() mutable {
      self->LetGo();
      self->responder_->Answer(std::move(response));
    });
  });
  if (status.ok()) return;
  LetGo();
  responder_->Answer(ErrorResponse(status));
}

void GenerationAnswer::Fail(const absl::Status& status) {
  over_ = true;
  if (stream_ != nullptr) stream_->Stop();
  parts_.clear();
  LetGo();
  CancelAll(absl::CancelledError("another prompt of the request failed"));
  if (stream_ == nullptr || !stream_->began()) return responder_->Answer(ErrorResponse(status));
  EndStream(EventOf(ErrorBody(status)));
}

void GenerationAnswer::EndStream(const std::string& last) {
  stream_->End(Concat(last, "data: [DONE]\n\n"));
}

}  // namespace fmaserver::openai
