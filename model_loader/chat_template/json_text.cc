#include "model_loader/chat_template/json_text.h"

#include <array>
#include <string>
#include <string_view>

#include "absl/strings/str_format.h"
#include "model_loader/chat_template/template_error.h"

namespace fmaserver::chat {
namespace {

class Writer {
 public:
  Writer(Run& run, int64_t indent) : run_(run), indent_(indent) {}

  MarkedText Take() { return std::move(out_); }

  void Write(const Value& value) {
    run_.Step();
    if (value.IsText()) return String(value.text());
    if (value.IsList()) {
      return Group("[", "]", value.items(), [this](const Value& item) { Write(item); });
    }
    if (value.IsDict()) {
      return Group("{", "}", value.entries(), [this](const Entry& entry) {
        String(entry.key);
        Plain(": ");
        Write(entry.value);
      });
    }
    if (value.IsNone()) return Plain("null");
    if (value.IsBool()) return Plain(value.Truth() ? "true" : "false");
    if (value.IsInteger()) return Plain(value.Printed().bytes());
    throw TemplateError(0, "tojson of", Words{std::string(value.Kind())},
                        "texts, numbers, true, false, none, lists and dictionaries");
  }

 private:
  template <typename Members, typename WriteOne>
  void Group(std::string_view open, std::string_view close, const Members& members,
             WriteOne write) {
    Plain(open);
    ++level_;
    for (size_t i = 0; i < members.size(); ++i) {
      if (i > 0) Plain(indent_ < 0 ? ", " : ",");
      NewLine();
      write(members[i]);
    }
    --level_;
    if (!members.empty()) NewLine();
    Plain(close);
  }

  void NewLine() {
    if (indent_ < 0) return;
    Plain("\n");
    Plain(std::string(static_cast<size_t>(level_ * indent_), ' '));
  }

  void String(const MarkedText& text) {
    Plain("\"");
    run_.Touch(text.size());
    const std::string& bytes = text.bytes();
    size_t begin = 0;
    for (size_t at = 0; at < bytes.size(); ++at) {
      const std::string escape = Escape(bytes[at]);
      if (escape.empty()) continue;
      out_.Append(text, begin, at);
      out_.Append(escape, text.OriginAt(at));
      begin = at + 1;
    }
    out_.Append(text, begin, bytes.size());
    Plain("\"");
  }

  static std::string Escape(char c) {
    constexpr std::string_view kSpecial = "\"\\\b\f\n\r\t";
    constexpr std::array<const char*, 7> kEscapes = {"\\\"", "\\\\", "\\b", "\\f",
                                                     "\\n",  "\\r",  "\\t"};
    const size_t known = kSpecial.find(c);
    if (known != kSpecial.npos) return kEscapes[known];
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 ? absl::StrFormat("\\u%04x", byte) : std::string();
  }

  void Plain(std::string_view text) {
    run_.Touch(text.size());
    out_.Append(text, Origin::kTemplate);
  }

  Run& run_;
  const int64_t indent_;
  int64_t level_ = 0;
  MarkedText out_;
};

}  // namespace

MarkedText ToJson(Run& run, const Value& value, int64_t indent) {
  constexpr int64_t kMaxIndent = 16;
  if (indent > kMaxIndent) {
    throw TemplateError(0, "indent of tojson", indent, FromTo<int64_t>(0, kMaxIndent));
  }
  Writer writer(run, indent);
  writer.Write(value);
  return writer.Take();
}

}  // namespace fmaserver::chat
