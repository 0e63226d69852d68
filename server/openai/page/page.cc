#include "server/openai/page/page.h"

#include "absl/strings/escaping.h"
#include "base/sha256.h"
#include "base/text.h"

namespace fmaserver::page {
namespace {

/// What stands between <tag> and </tag>.
std::string_view Inside(std::string_view page, std::string_view tag) {
  const std::string opening = Concat("<", tag, ">");
  const size_t begin = page.find(opening) + opening.size();
  return page.substr(begin, page.find(Concat("</", tag, ">"), begin) - begin);
}

std::string HashOf(std::string_view text) {
  return Concat("'sha256-", absl::Base64Escape(Sha256Of(text)), "'");
}

}  // namespace

std::string ContentSecurityPolicy(std::string_view page) {
  return Concat("default-src 'none'; connect-src 'self'; img-src data:; style-src ",
                HashOf(Inside(page, "style")), "; script-src ", HashOf(Inside(page, "script")),
                "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
                "require-trusted-types-for 'script'; trusted-types 'none'");
}

}  // namespace fmaserver::page
