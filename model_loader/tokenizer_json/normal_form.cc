#include "model_loader/tokenizer_json/normal_form.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "utf8proc.h"

namespace fmaserver::model {
namespace {

using Codes = std::vector<utf8proc_int32_t>;

bool IsAscii(char byte) { return static_cast<unsigned char>(byte) < 0x80; }

auto CombiningClass(utf8proc_int32_t code) { return utf8proc_get_property(code)->combining_class; }

/// The decomposition of each character of `stretch`, in the order of the text.
void Decompose(std::string_view stretch, utf8proc_option_t options, Codes& codes) {
  codes.clear();
  const auto* at = reinterpret_cast<const utf8proc_uint8_t*>(stretch.data());
  const auto* const end = at + stretch.size();
  std::array<utf8proc_int32_t, 32> parts;  // 18 is the most that a character becomes
  while (at < end) {
    utf8proc_int32_t code = 0;
    at += std::max<utf8proc_ssize_t>(utf8proc_iterate(at, end - at, &code), 1);
    int last_class = 0;
    const utf8proc_ssize_t count =
        utf8proc_decompose_char(code, parts.data(), parts.size(), options, &last_class);
    codes.insert(codes.end(), parts.begin(), parts.begin() + count);
  }
}

/// The canonical order of marks. utf8proc's own loop takes the square of their number.
void SortMarks(Codes& codes) {
  const auto is_starter = [](utf8proc_int32_t code) { return CombiningClass(code) == 0; };
  for (auto first = codes.begin(); first != codes.end();) {
    first = std::find_if_not(first, codes.end(), is_starter);
    const auto last = std::find_if(first, codes.end(), is_starter);
    if (last - first > 1) std::ranges::stable_sort(first, last, {}, CombiningClass);
    first = last;
  }
}

class Normalization {
 public:
  explicit Normalization(NormalForm form) {
    const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
    composes_ = form == NormalForm::kNfc || form == NormalForm::kNfkc;
    options_ = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE |
                                              (compatible ? UTF8PROC_COMPAT : 0));
  }

  void Append(std::string_view stretch, std::string& out) {
    Decompose(stretch, options_, codes_);
    SortMarks(codes_);
    auto count = static_cast<utf8proc_ssize_t>(codes_.size());
    if (composes_) {
      constexpr auto kCompose = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);
      count = utf8proc_normalize_utf32(codes_.data(), count, kCompose);
    }
    std::array<utf8proc_uint8_t, 4> bytes;
    for (utf8proc_ssize_t i = 0; i < count; ++i) {
      const utf8proc_ssize_t length = utf8proc_encode_char(codes_[i], bytes.data());
      out.append(reinterpret_cast<const char*>(bytes.data()), length);
    }
  }

 private:
  bool composes_ = false;
  utf8proc_option_t options_{};
  Codes codes_;
};

}  // namespace

std::string ToNormalForm(std::string_view text, NormalForm form) {
  std::string out;
  out.reserve(text.size());
  Normalization normalization(form);
  while (!text.empty()) {
    const auto other = std::find_if_not(text.begin(), text.end(), IsAscii);
    // A mark changes the character before it, so the last one is normalised with what follows.
    auto plain = static_cast<size_t>(other - text.begin());
    if (other != text.end() && plain > 0) --plain;
    out += text.substr(0, plain);
    const auto next = other == text.end() ? other : std::find_if(other, text.end(), IsAscii);
    const auto end = static_cast<size_t>(next - text.begin());
    normalization.Append(text.substr(plain, end - plain), out);
    text.remove_prefix(end);
  }
  return out;
}

}  // namespace fmaserver::model
