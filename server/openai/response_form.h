// What clients read of a response: the object, and the events of its stream.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/openai/choice_json.h"
#include "server/openai/generate_job.h"
#include "server/service/generate_event.h"

namespace fmaserver::openai {

/// One response as a JSON object, which does not change once it is made. Any thread.
class ResponseForm {
 public:
  /// Of what `job` asks; `id` is that of the response.
  ResponseForm(const GenerateJob& job, std::string id, int64_t created);

  const std::string& id() const { return id_; }

  Json Running() const { return base_; }
  Json Finished(const service::Answered& answered) const;
  Json Failed(const absl::Status& status) const;

  /// Its only output, with a part for the text, unless that is null.
  Json Message(std::string_view status, const std::string* text) const;
  std::string message_id() const;

 private:
  const std::string id_;
  Json base_;
};

/// "completed", or "incomplete".
std::string_view StatusOf(const service::Answered& answered);

/// The part of a message that has its text.
Json TextPart(const std::string& text);

/// The instructions in force behind a kept response, which is the bytes of a form.
std::optional<std::string> InstructionsOf(const std::string& kept);

/// The events of one stream, in their order, as bytes. One thread at a time.
class ResponseEvents {
 public:
  explicit ResponseEvents(const ResponseForm& form) : form_(form) {}

  /// Up to the first piece of text; nothing the second time.
  std::string Opening();
  std::string Delta(const std::string& text);
  std::string Finished(const service::Answered& answered);
  std::string Failed(const absl::Status& status);

 private:
  /// The event `type` with what else it has.
  std::string Event(std::string_view type, const Json& members);
  /// The members of an event about the text.
  Json AtText() const;

  const ResponseForm& form_;
  int64_t number_ = 0;
  bool opened_ = false;
};

}  // namespace fmaserver::openai
