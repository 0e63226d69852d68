// The memory that rendering a conversation takes.
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model_loader/chat_template/chat_template.h"
#include "tests/support/counted_memory.h"

namespace fmaserver::chat {
namespace {

constexpr size_t kMessageBytes = size_t{1} << 20;

struct Rendered {
  bool ok = false;
  size_t peak = 0;  // bytes, besides the messages
};

Rendered RenderedBy(const std::string& source) {
  const auto chats = ChatTemplate::Parse(source, "test", {});
  EXPECT_TRUE(chats.ok()) << chats.status();
  const std::vector<Message> messages = {{"system", std::string(kMessageBytes / 2, 's')},
                                         {"user", std::string(kMessageBytes / 2, 'u')}};
  const size_t before = testing::ResetPeakBytes();
  const bool ok = (*chats)->Render(messages).ok();
  return {ok, testing::PeakBytes() - before};
}

TEST(ChatTemplateMemoryTest, OrdinaryTemplatesTakeASmallMultiple) {
  const Rendered rendered = RenderedBy(
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n"
      "{% endfor %}<|im_start|>assistant\n");
  EXPECT_TRUE(rendered.ok);
  EXPECT_LE(rendered.peak, 6 * kMessageBytes);
}

TEST(ChatTemplateMemoryTest, NoTemplateTakesMore) {
  const Rendered rendered = RenderedBy(
      "{% set ns = namespace(all='') %}{% for i in range(100000) %}"
      "{% set ns.all = ns.all + messages[0].content %}{% endfor %}{{ ns.all }}");
  EXPECT_FALSE(rendered.ok);
  EXPECT_LE(rendered.peak, (size_t{32} << 20) + 128 * kMessageBytes);
}

}  // namespace
}  // namespace fmaserver::chat
