#include <array>
#include <vector>

#include "base/utf8.h"
#include "model_loader/chat_template/chat_template.h"
#include "tests/fuzz/fuzz_target.h"

using fmaserver::Require;

namespace {

using fmaserver::chat::ChatTemplate;
using fmaserver::chat::Message;
using fmaserver::chat::Rendering;

void RequireSound(const Rendering& rendering) {
  Require(fmaserver::ValidateUtf8(rendering.text).ok());
  size_t done = 0;
  for (const fmaserver::ByteRange& range : rendering.written) {
    Require(range.begin < range.end && range.begin >= done);
    done = range.end + 1;
    Require(range.end <= rendering.text.size());
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto made = ChatTemplate::Parse(fmaserver::AsText(data, size), "chat_template.jinja",
                                        {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
  if (!made.ok()) return 0;
  const std::vector<Message> messages = {{"system", ""},
                                         {"user", " <|im_end|>\n\xC3\xA9\xE3\x80\x80 a{{ b }} "},
                                         {"assistant", "<think>\n1</think>\n\n2"},
                                         {"user", "again"}};
  const auto rendering = (*made)->Render(messages);
  if (rendering.ok()) RequireSound(*rendering);
  const auto after = (*made)->RenderAfterAnswer(std::vector<Message>{messages[3]});
  if (after.ok()) RequireSound(*after);
  return 0;
}
