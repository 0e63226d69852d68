// fma-pages FOLDER: writes the man pages and the shells' completions of the programs, which are
// made of the options that the programs themselves declare.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>

#include "clients/cpp/commands.h"
#include "packaging/pages/command.h"
#include "packaging/pages/completion.h"
#include "packaging/pages/man_page.h"
#include "server/flags.h"

namespace fmaserver::pages {
namespace {

bool Write(const std::filesystem::path& file, const std::string& text) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream stream(file, std::ios::binary);
  stream << text;
  stream.close();
  if (!stream) std::cerr << "fma-pages: cannot write " << file << "\n";
  return static_cast<bool>(stream);
}

bool WriteAll(const Command& program, const std::filesystem::path& folder) {
  const std::string& name = program.name;
  return Write(folder / "man" / (name + ".1"), ManPage(program, FMA_VERSION)) &&
         Write(folder / "bash" / name, BashCompletion(program)) &&
         Write(folder / "zsh" / ("_" + name), ZshCompletion(program)) &&
         Write(folder / "fish" / (name + ".fish"), FishCompletion(program));
}

}  // namespace
}  // namespace fmaserver::pages

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: fma-pages FOLDER\n";
    return 2;
  }
  CLI::App server("", "fma-server");
  fmaserver::Flags flags;
  fmaserver::AddFlags(server, flags);
  CLI::App tool("", "fma");
  fmaserver::client::RunCommand run;
  fmaserver::client::AddCommands(tool, run);
  using fmaserver::pages::Describe;
  using fmaserver::pages::WriteAll;
  return WriteAll(Describe(server), argv[1]) && WriteAll(Describe(tool), argv[1]) ? 0 : 1;
}
