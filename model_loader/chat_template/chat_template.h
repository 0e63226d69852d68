// chat_template.jinja of a checkpoint: how a conversation becomes the text that a model was trained
// on. An interpreter of the part of Jinja that published templates use, with the settings of the
// library `transformers`; docs/chat.md lists it.
//
// Templates and messages are hostile. A rendering is bounded in its steps and in the bytes that it
// handles, and its text says which parts of it come from messages, so that only what the template
// itself writes can be a control token.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/byte_range.h"
#include "model_loader/chat_template/run.h"

namespace fmaserver::chat {

struct Message {
  std::string role;
  std::string content;
};

struct Rendering {
  std::string text;
  std::vector<ByteRange> written;  ///< what the template itself wrote; ascending, not touching
};

/// The texts of special tokens under the names that templates know them by: "bos_token" and so on.
using SpecialTexts = std::map<std::string, std::string>;

/// The local time of this machine.
std::tm LocalTimeNow();

/// Thread-safe.
class ChatTemplate {
 public:
  /// INVALID_ARGUMENT names `origin`, the line, what was found and what is allowed.
  static absl::StatusOr<std::shared_ptr<const ChatTemplate>> Parse(
      std::string_view source, std::string_view origin, SpecialTexts specials,
      LocalTime local_time = LocalTimeNow);

  /// The conversation, and what makes the model answer. INVALID_ARGUMENT where the template refuses
  /// the messages, cannot render them, or would take too long; with its line.
  absl::StatusOr<Rendering> Render(std::span<const Message> messages) const;

  /// The same for messages that follow an answer: what comes after the answer's text. The rendering
  /// does not depend on what was said before. FAILED_PRECONDITION when the template does not show
  /// an answer that has been followed by a question.
  absl::StatusOr<Rendering> RenderAfterAnswer(std::span<const Message> messages) const;

 private:
  struct Program;
  explicit ChatTemplate(std::unique_ptr<const Program> program);

  absl::StatusOr<MarkedText> Run(Items messages, size_t bytes) const;

  std::shared_ptr<const Program> program_;
};

}  // namespace fmaserver::chat
