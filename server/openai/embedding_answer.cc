#include "server/openai/embedding_answer.h"

#include <bit>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "absl/strings/escaping.h"
#include "server/openai/choice_json.h"
#include "server/openai/errors.h"
#include "server/openai/ignored_fields.h"

namespace fmaserver::openai {

using service::EncodeEvent;

void EmbeddingAnswer::Start(Hall& hall, EmbeddingJob job, Request request,
                            std::shared_ptr<Responder> responder) {
  const std::shared_ptr<EmbeddingAnswer> answer(
      new EmbeddingAnswer(hall, std::move(job), std::move(request), std::move(responder)));
  answer->responder_->OnGone([answer] {
    answer->over_ = true;
    answer->LetGo();
    answer->Cancel(absl::CancelledError("the client went away"));
  });
  if (!answer->over_) answer->StartCall();
}

EmbeddingAnswer::EmbeddingAnswer(Hall& hall, EmbeddingJob job, Request request,
                                 std::shared_ptr<Responder> responder)
    : hall_(hall),
      job_(std::move(job)),
      request_(std::move(request)),
      responder_(std::move(responder)),
      embeddings_(job_.request.texts.size()) {}

void EmbeddingAnswer::StartCall() {
  const auto model = hall_.service.Find(job_.model, *request_.call);
  encoding_ = service::Encoding::Start(
      hall_.service, model, request_.call,
      std::make_shared<LoopWire<EncodeEvent>>(hall_.loop, shared_from_this(), 0), job_.bytes,
      [request = std::move(job_.request)]() mutable { return std::move(request); });
}

void EmbeddingAnswer::Cancel(const absl::Status& why) {
  // Held, because what it does may be its end.
  if (const auto encoding = encoding_) encoding->OnCancel(why);
}

void EmbeddingAnswer::OnEvent(size_t /*call*/, EncodeEvent event) {
  if (!over_) Take(std::move(event));
  if (const auto encoding = encoding_) encoding->OnWritten(absl::OkStatus());
}

void EmbeddingAnswer::Take(EncodeEvent event) {
  if (const auto* summary = std::get_if<service::EncodeSummary>(&event)) {
    tokens_ = summary->tokens;
    return;
  }
  engine::EncodedText& text = std::get<service::TextEncoded>(event).text;
  const size_t bytes = text.embedding.size() * sizeof(float);
  bytes_ += bytes;
  hall_.answer_bytes += bytes;
  embeddings_[static_cast<size_t>(text.index)] = std::move(text.embedding);
  if (hall_.answer_bytes <= hall_.max_answer_bytes) return;
  const absl::Status status =
      absl::ResourceExhaustedError("too many answers are being collected already");
  Fail(status);
  Cancel(status);
}

void EmbeddingAnswer::OnEnd(size_t /*call*/, const absl::Status& status) {
  encoding_.reset();
  if (over_) return;
  status.ok() ? Complete() : Fail(status);
}

void EmbeddingAnswer::LetGo() { hall_.answer_bytes -= std::exchange(bytes_, 0); }

void EmbeddingAnswer::Fail(const absl::Status& status) {
  over_ = true;
  LetGo();
  responder_->Answer(ErrorResponse(status));
}

// Of what is longer, others would notice the time. The answer must end on the loop's thread, so
// that the reading thread gives its hold on it away.
void EmbeddingAnswer::Complete() {
  over_ = true;
  const absl::Status status = hall_.service.Read(bytes_, [self = shared_from_this()]() mutable {
    Response response{.body = self->Body(), .headers = IgnoredFields(self->job_.ignored)};
    Loop& loop = self->hall_.loop;
    loop.Post([self = std::move(self), response = std::move(response)]() mutable {
      self->LetGo();
      self->responder_->Answer(std::move(response));
    });
  });
  if (!status.ok()) Fail(status);
}

std::string EmbeddingAnswer::Body() const {
  static_assert(std::endian::native == std::endian::little, "as clients expect the bytes");
  Json data = Json::array();
  for (size_t i = 0; i < embeddings_.size(); ++i) {
    const std::vector<float>& numbers = embeddings_[i];
    Json item;
    item["object"] = "embedding";
    item["index"] = i;
    if (job_.base64) {
      item["embedding"] = absl::Base64Escape(absl::string_view(
          reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(float)));
    } else {
      item["embedding"] = numbers;
    }
    data.push_back(std::move(item));
  }
  Json json;
  json["object"] = "list";
  json["data"] = std::move(data);
  json["model"] = job_.model;
  json["usage"] = {{"prompt_tokens", tokens_}, {"total_tokens", tokens_}};
  return TextOf(json);
}

}  // namespace fmaserver::openai
