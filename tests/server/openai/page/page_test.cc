#include "server/openai/page/page.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fmaserver::page {
namespace {

using testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(PageTest, IsTheFileItself) {
  std::ifstream file(std::filesystem::path(FMA_SOURCE_DIR) / "server/openai/page/index.html",
                     std::ios::binary);
  const std::string written(std::istreambuf_iterator<char>(file), {});
  EXPECT_THAT(written, StartsWith("<!doctype html>"));
  EXPECT_EQ(Page(), written);
}

// The digests are those of `printf ... | openssl dgst -sha256 -binary | base64`.
TEST(PageTest, PolicyAllowsTheOneScriptAndTheOneStyleSheet) {
  const std::string policy =
      ContentSecurityPolicy("<style>p{}</style><p>style</p><script>run()</script>");
  EXPECT_THAT(policy,
              HasSubstr("style-src 'sha256-gG2yISYereRMiG2lMXrbiUgi0Ubw9p7QCeWcroOvy9Y='; "));
  EXPECT_THAT(policy,
              HasSubstr("script-src 'sha256-AvyuiL0SD1mVY3NNxR+V2uo+lhk6RMFrytWmRt6CrJQ='; "));
  EXPECT_THAT(policy, StartsWith("default-src 'none'; connect-src 'self'; "));
  EXPECT_THAT(policy, Not(HasSubstr("unsafe")));
}

TEST(PageTest, PolicyOfThePageHasNoOtherScript) {
  size_t scripts = 0;
  for (size_t at = 0; (at = Page().find("<script", at)) != std::string_view::npos; ++at) ++scripts;
  EXPECT_EQ(scripts, 1);
  // Handlers in attributes would be scripts too, which the policy blocks.
  EXPECT_THAT(std::string(Page()), Not(HasSubstr(" onclick=\"")));
}

}  // namespace
}  // namespace fmaserver::page
