#include "model_loader/chat_template/chat_template.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "base/refusal.h"
#include "base/utf8.h"
#include "model_loader/chat_template/frame.h"
#include "model_loader/chat_template/parser.h"
#include "model_loader/chat_template/template_error.h"
#include "model_loader/chat_template/value.h"

namespace fmaserver::chat {
namespace {

// In messages to clients, whom the server's folders do not concern.
constexpr std::string_view kOrigin = "chat template";

constexpr size_t kMaxTemplateBytes = size_t{256} << 10;

Value MessageValue(const std::string& role, const std::string& content, Origin origin) {
  return Entries{{MarkedText("role"), MarkedText(role, Origin::kMessage)},
                 {MarkedText("content"), MarkedText(content, origin)}};
}

absl::Status InvalidAt(std::string_view origin, int line, const TemplateError& error) {
  return absl::InvalidArgumentError(Concat(origin, ": line ", line, ": ", error.what()));
}

absl::Status CheckMessages(std::span<const Message> messages) {
  if (messages.empty()) return Refusal("messages", Words{"empty"}, "1 or more");
  for (size_t i = 0; i < messages.size(); ++i) {
    for (const std::string& text : {messages[i].role, messages[i].content}) {
      const absl::Status status = ValidateUtf8(text);
      if (!status.ok()) return At(Concat("messages[", i, "]"), status);
    }
  }
  return absl::OkStatus();
}

size_t BytesOf(std::span<const Message> messages) {
  size_t bytes = 0;
  for (const Message& message : messages) bytes += message.role.size() + message.content.size();
  return bytes;
}

void Append(std::span<const Message> messages, Items& items) {
  for (const Message& message : messages) {
    items.push_back(MessageValue(message.role, message.content, Origin::kMessage));
  }
}

/// The rendering from byte `begin` of `text` on.
Rendering From(const MarkedText& text, size_t begin) {
  Rendering rendering;
  rendering.text = text.bytes().substr(begin);
  size_t start = begin;
  for (const MarkedText::Run& run : text.runs()) {
    if (run.end <= begin) continue;
    if (run.origin == Origin::kTemplate) {
      rendering.written.push_back({start - begin, run.end - begin});
    }
    start = run.end;
  }
  return rendering;
}

}  // namespace

struct ChatTemplate::Program {
  Block block;
  SpecialTexts specials;
  LocalTime local_time;
};

std::tm LocalTimeNow() {
  const std::time_t now = std::time(nullptr);
  std::tm local = {};
  localtime_r(&now, &local);
  return local;
}

ChatTemplate::ChatTemplate(std::unique_ptr<const Program> program) : program_(std::move(program)) {}

absl::StatusOr<std::shared_ptr<const ChatTemplate>> ChatTemplate::Parse(std::string_view source,
                                                                        std::string_view origin,
                                                                        SpecialTexts specials,
                                                                        LocalTime local_time) {
  if (source.size() > kMaxTemplateBytes) {
    return Refusal(origin, Words{Concat(source.size(), " bytes")},
                   Concat("up to ", kMaxTemplateBytes));
  }
  if (absl::Status status = ValidateUtf8(source); !status.ok()) return At(origin, status);
  try {
    auto program = absl::WrapUnique(
        new Program{ParseTemplate(source), std::move(specials), std::move(local_time)});
    return absl::WrapUnique(new ChatTemplate(std::move(program)));
  } catch (const TemplateError& error) {
    return InvalidAt(origin, error.line(), error);
  }
}

absl::StatusOr<MarkedText> ChatTemplate::Run(Items messages, size_t bytes) const {
  chat::Run run(bytes, program_->local_time);
  Scope top;
  for (const auto& [name, text] : program_->specials) top.Set(name, Written(text));
  top.Set("messages", std::move(messages));
  top.Set("add_generation_prompt", true);
  top.Set("tools", None{});
  top.Set("documents", None{});
  Frame frame(run, top);
  MarkedText out;
  try {
    RenderBlock(program_->block, frame, out);
  } catch (const TemplateError& error) {
    return InvalidAt(kOrigin, error.line() > 0 ? error.line() : run.line(), error);
  }
  return out;
}

absl::StatusOr<Rendering> ChatTemplate::Render(std::span<const Message> messages) const {
  if (absl::Status status = CheckMessages(messages); !status.ok()) return status;
  Items items;
  Append(messages, items);
  const auto text = Run(std::move(items), BytesOf(messages));
  if (!text.ok()) return text.status();
  return From(*text, 0);
}

absl::StatusOr<Rendering> ChatTemplate::RenderAfterAnswer(std::span<const Message> messages) const {
  if (absl::Status status = CheckMessages(messages); !status.ok()) return status;
  Items items = {MessageValue("user", "question", Origin::kMessage),
                 MessageValue("assistant", "answer", Origin::kAnswer)};
  Append(messages, items);
  const auto text = Run(std::move(items), BytesOf(messages));
  if (!text.ok()) return text.status();
  // Of an answer that is shown twice the first is the one in its place.
  const auto& runs = text->runs();
  for (size_t i = 0; i < runs.size(); ++i) {
    const size_t begin = i == 0 ? 0 : runs[i - 1].end;
    const bool whole = text->bytes().substr(begin, runs[i].end - begin) == "answer";
    if (runs[i].origin == Origin::kAnswer && whole) return From(*text, runs[i].end);
  }
  return Refusal(At(kOrigin, "earlier answers"), Words{"left out"},
                 "a template that shows them, or calls without a session",
                 absl::StatusCode::kFailedPrecondition);
}

}  // namespace fmaserver::chat
