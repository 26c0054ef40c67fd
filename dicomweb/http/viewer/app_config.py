"""OHIF's configuration, made for each request: where the archive is, as the browser sees it, and what it can do.

Facts this module keeps:

- The archive is on the origin of the page. Its path is that of the public root when that root is on the page's host,
  which only the browser knows for sure; else the page came straight from the server, where the mount is the path.
- `acceptHeader` names what OHIF 3.13.2 decodes right. All else is made plain samples for it: JPEG XL, JPEG Extended (of
  which it takes YCbCr for RGB), frames whose label is wrong, ... (`dicomweb.http.wado.frames`, `samples=plain`). Frames
  come in parts: of a long one that comes alone, OHIF decodes the beginning as if it were all. It names the build of
  this program, so that the browser keeps pictures until another build makes them.
- With `fuzzymatching` a name is found as the list shows it ("Doe, John"), which no key with wildcards says.
- What OHIF gets wrong by itself is mended by an extension of ours (`extension.js`), which is part of this script: the
  page runs the scripts of its own origin, none that is written into it. Whoever sets `window.config.extensions` adds
  to it: without it, plain samples would be taken for what they no longer are.
- Nothing of it names another host.
"""

from pathlib import Path
from string import Template
from urllib.parse import urlsplit

import orjson

from dicomweb.http.urls import MOUNT
from dicomweb.version import build
from storage.dicom.transfer_syntax import EXPLICIT_LE, JPEG_BASELINE, JPEG_LOSSLESS, JPEG_LOSSLESS_SV1, OCTET_STREAM

DATA_SOURCE = "dicomweb"
FRAMES = tuple(
    f'multipart/related; type="{media_type}"; transfer-syntax={syntax}'
    for media_type, syntax in (
        *((f"image/{kind}", "*") for kind in ("jp2", "jphc", "jls", "dicom-rle")),
        *(("image/jpeg", uid) for uid in (JPEG_BASELINE, JPEG_LOSSLESS, JPEG_LOSSLESS_SV1)),
        (OCTET_STREAM, f"{EXPLICIT_LE}; samples=plain; build={build()}"),
    )
)
"""What OHIF decodes, as an Accept header."""

_EXTENSION = Path(__file__).with_name("extension.js").read_text(encoding="utf-8")

_SCRIPT = Template(
    """\
(() => {
$extension
  const publicRoot = new URL($root);
  const root = publicRoot.host === location.host ? publicRoot.pathname : $mount;
  const outside = root.replace(/\\/[^/]*$$/, '');
  window.config = {
    name: 'dicomweb',
    routerBasename: null,
    extensions: [archiveExtension],
    modes: [],
    customizationService: {},
    showStudyList: true,
    maxNumberOfWebWorkers: 3,
    showWarningMessageForCrossOrigin: false,
    showCPUFallbackMessage: true,
    showLoadingIndicator: true,
    strictZSpacingForVolumeViewport: true,
    groupEnabledModesFirst: true,
    maxNumRequests: { interaction: 100, thumbnail: 5, prefetch: 25 },
    defaultDataSourceName: $source,
    dataSources: [
      {
        namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
        sourceName: $source,
        configuration: {
          friendlyName: 'dicomweb',
          name: $source,
          qidoRoot: root,
          wadoRoot: root,
          wadoUriRoot: outside + '/wado',
          imageRendering: 'wadors',
          thumbnailRendering: 'thumbnail',
          enableStudyLazyLoad: true,
          supportsFuzzyMatching: true,
          supportsWildcard: true,
          dicomUploadEnabled: true,
          singlepart: 'bulkdata,video,pdf',
          bulkDataURI: { enabled: true },
          acceptHeader: $accept,
          staticWado: false,
        },
      },
    ],
    whiteLabeling: {
      createLogoComponentFn: React =>
        React.createElement(
          'a',
          {
            href: outside + '/ui/',
            title: 'Pages of the archive',
            className: 'text-primary flex items-center',
            style: { gap: '0.75em', whiteSpace: 'nowrap' },
            onClick: event => event.stopPropagation(),
          },
          React.createElement('img', { src: '/ohif-logo.svg', alt: 'OHIF', style: { height: '1.6em' } }),
          'Archive'
        ),
    },
  };
  let extensions = window.config.extensions;
  Object.defineProperty(window.config, 'extensions', {
    enumerable: true,
    get: () => extensions,
    set: others => {
      extensions = [...new Set([archiveExtension, ...others])];
    },
  });
})();
"""
)


def app_config(root: str, additions: bytes = b"") -> bytes:
    """Write `/app-config.js`.

    Parameters
    ----------
    root
        The DICOMweb root as clients see it, such as https://pacs.example.org/dicom-web.
    additions
        A script of the administrator that changes `window.config`.
    """
    values = {"root": root, "mount": MOUNT, "source": DATA_SOURCE, "accept": FRAMES}
    # "<" and the line ends of Unicode are legal in JSON and trouble in scripts; a root has neither.
    written = {name: orjson.dumps(value).decode() for name, value in values.items()}
    script = _SCRIPT.substitute(written, extension=_EXTENSION)
    return script.encode() + additions


def other_origin(root: str, host: str) -> str:
    """Return the origin of the DICOMweb root, such as https://pacs.example.org:8443; "" when it is that of `host`.

    Parameters
    ----------
    root
        The DICOMweb root as clients see it.
    host
        The Host header of the request. (A Content-Security-Policy cannot name IPv6 addresses but by 'self'.)
    """
    parts = urlsplit(root)
    return "" if parts.netloc == host else f"{parts.scheme}://{parts.netloc}"
