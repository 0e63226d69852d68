#include "model_loader/chat_template/run.h"

#include "model_loader/chat_template/template_error.h"

namespace fmaserver::chat {

void Run::Step(int64_t count) {
  steps_left_ -= count;
  if (steps_left_ >= 0) return;
  throw TemplateError(line_, "number of steps", Words{"larger"}, Concat("up to ", kSteps));
}

void Run::Touch(size_t bytes) {
  bytes_left_ -= static_cast<int64_t>(bytes);
  if (bytes_left_ >= 0) return;
  throw TemplateError(line_, "number of bytes that the template handles", Words{"larger"},
                      Concat("up to ", kBytesForEach, " for each byte of the messages"));
}

void Run::Enter() {
  if (++depth_ <= kMaxCalls) return;
  throw TemplateError(line_, "number of macros that call each other", Words{"larger"},
                      Concat("up to ", kMaxCalls));
}

}  // namespace fmaserver::chat
