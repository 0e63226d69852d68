#include "model_loader/chat_template/whitespace.h"

#include <algorithm>
#include <array>

#include "base/utf8.h"

namespace fmaserver::chat {
namespace {

constexpr std::array<std::string_view, 29> kSpaces = {
    "\t",           "\n",           "\v",           "\f",           "\r",
    "\x1C",         "\x1D",         "\x1E",         "\x1F",         " ",
    "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81",
    "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
    "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A", "\xE2\x80\xA8",
    "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};

}  // namespace

size_t SpaceBefore(std::string_view text) {
  size_t done = 0;
  for (bool found = true; found;) {
    const auto* space = std::find_if(kSpaces.begin(), kSpaces.end(), [&](std::string_view one) {
      return text.substr(done).starts_with(one);
    });
    found = space != kSpaces.end();
    if (found) done += space->size();
  }
  return done;
}

size_t SpaceBehind(std::string_view text) {
  const size_t size = text.size();
  for (bool found = true; found;) {
    const auto* space = std::find_if(kSpaces.begin(), kSpaces.end(),
                                     [&](std::string_view one) { return text.ends_with(one); });
    found = space != kSpaces.end();
    if (found) text.remove_suffix(space->size());
  }
  return size - text.size();
}

size_t CharacterLength(std::string_view text) { return NextUtf8(text).length; }

}  // namespace fmaserver::chat
