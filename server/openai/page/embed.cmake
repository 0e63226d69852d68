# Writes SOURCE, which holds the bytes of PAGE.
file(READ ${PAGE} bytes HEX)
string(REGEX REPLACE "(..)" "'\\\\x\\1'," bytes "${bytes}")
file(WRITE ${SOURCE} "#include \"server/openai/page/page.h\"

namespace fmaserver::page {
namespace {
constexpr char kBytes[] = {${bytes}};
}  // namespace

std::string_view Page() { return {kBytes, sizeof(kBytes)}; }

}  // namespace fmaserver::page
")
