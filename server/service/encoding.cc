#include "server/service/encoding.h"

#include <string>

#include "base/text.h"

namespace fmaserver::service {

size_t BytesOf(const EncodeEvent& event) {
  size_t bytes = sizeof(EncodeEvent);
  const auto* encoded = std::get_if<TextEncoded>(&event);
  if (encoded == nullptr) return bytes;
  bytes += encoded->text.embedding.size() * sizeof(float);
  for (const engine::FilledMask& mask : encoded->text.masks) {
    bytes += sizeof mask + mask.candidates.size() * sizeof(engine::TokenLogprob);
  }
  return bytes;
}

std::shared_ptr<Encoding> Encoding::Start(Service& service,
                                          const absl::StatusOr<models::ModelPtr>& model,
                                          std::shared_ptr<Call> call, std::shared_ptr<Wire> wire,
                                          size_t bytes, Parse parse) {
  std::shared_ptr<Encoding> encoding(new Encoding(service, std::move(call), std::move(wire)));
  encoding->Read(model, bytes, [encoding, parse = std::move(parse)](const auto& served) {
    if (!encoding->closed()) encoding->Run(served, parse());
  });
  return encoding;
}

void Encoding::Run(const models::ModelPtr& model, absl::StatusOr<EncodeRequest> request) {
  if (!request.ok()) return Refuse(model, request.status(), engine::Rejection::kInvalid);
  KeepPrompt(request->texts);
  engine::EncoderEngine& engine = model->encoder();
  auto ready =
      ForEncoder(*std::move(request), VocabularyOf(*model), call().limits(), engine.MaxTokens());
  absl::Status share = ready.status();
  if (ready.ok()) share = CheckShare(call().limits().share, {.read = ready->request.Tokens()});
  if (!share.ok()) return Refuse(model, share, engine::Rejection::kInvalid);
  call().ChargePrompt(ready->request.Tokens());
  truncated_ = std::move(ready->truncated);
  const auto id = engine.Submit(std::move(ready->request), shared_from_this());
  id.ok() ? Started(*id) : Close(id.status());
}

void Encoding::KeepPrompt(const std::vector<Input>& texts) {
  if (!call().keeps_prompts()) return;
  std::string all;
  for (const Input& input : texts) {
    if (input.text.has_value()) all += Concat(all.empty() ? "" : "\n", *input.text);
  }
  call().KeepPrompt(all);
}

void Encoding::OnEncoded(engine::EncodedText text) {
  const int64_t truncated = truncated_[static_cast<size_t>(text.index)];
  Send(TextEncoded{.text = std::move(text), .truncated_tokens = truncated});
}

void Encoding::OnFinish(const engine::Usage& usage) {
  call().SetUsage(usage);
  Send(EncodeSummary{.tokens = usage.prompt_tokens,
                     .queue_seconds = usage.queue_seconds,
                     .seconds = usage.prefill_seconds});
  Close(absl::OkStatus());
}

}  // namespace fmaserver::service
