// Which page of the web a browser asks for.
#pragma once

#include <string>
#include <string_view>

namespace fmaserver::openai {

/// The headers by which a browser says whose page asks; empty: absent.
struct OriginHeaders {
  std::string_view site = {};            ///< Sec-Fetch-Site
  std::string_view origin = {};          ///< Origin
  std::string_view host = {};            ///< Host
  std::string_view forwarded_host = {};  ///< X-Forwarded-Host
};

/// Why the page may not ask here, or empty. Without this any page that a person looks at could make
/// a server on their machine work, although it could not read the answers. Programs, and the page
/// of this server, send none of these headers or such as name this server.
std::string ForeignPage(const OriginHeaders& headers);

}  // namespace fmaserver::openai
