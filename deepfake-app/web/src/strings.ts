/**
 * Every word of the page: a row for each, in English, Korean and Polish. A row that lacks a language does not compile, and
 * a test keeps the {places} of the three equal.
 */

type Row = readonly [en: string, ko: string, pl: string]

const STRINGS = {
  brand: ['Deepfake check', '딥페이크 확인', 'Test deepfake'],
  language: ['Language', '언어', 'Język'],
  skip: ['Skip to the content', '본문으로 건너뛰기', 'Przejdź do treści'],
  check: ['Check an image', '이미지 확인', 'Sprawdź zdjęcie'],
  methodology: ['Methodology', '판별 방법', 'Metoda'],
  about: ['About', '소개', 'O stronie'],
  title: ['Real face, or deepfake?', '진짜 얼굴일까요, 딥페이크일까요?', 'Prawdziwa twarz czy deepfake?'],
  lead: [
    'Give a photograph of a face. A trained network looks for the traces that generators and face swaps leave, and says how strongly it sees them.',
    '얼굴 사진을 올려 주세요. 학습된 신경망이 이미지 생성기나 얼굴 바꾸기가 남긴 흔적을 찾고, 그 흔적이 얼마나 뚜렷한지 알려 드립니다.',
    'Dodaj zdjęcie twarzy. Wytrenowana sieć szuka śladów, jakie zostawiają generatory obrazów i podmiany twarzy, i mówi, jak wyraźnie je widzi.',
  ],
  choose: ['Choose images', '이미지 선택', 'Wybierz zdjęcia'],
  or: [
    'or drop them anywhere on this page, or paste one',
    '또는 이 페이지 아무 곳에나 끌어다 놓거나 붙여 넣으세요',
    'albo upuść je w dowolnym miejscu strony lub wklej ze schowka',
  ],
  limits: [
    '{types}. At most {mb} MiB each, and at least {side} × {side} pixels.',
    '{types}. 파일당 최대 {mb} MiB, 최소 {side} × {side} 픽셀.',
    '{types}. Najwyżej {mb} MiB na plik i co najmniej {side} × {side} pikseli.',
  ],
  dropNow: ['Let go to check', '놓으면 확인을 시작합니다', 'Upuść, aby sprawdzić'],
  model: ['Model', '모델', 'Model'],
  factMemoryTitle: ['Looked at, not kept', '확인만 하고 보관하지 않습니다', 'Obejrzane, niezachowane'],
  factMemory: [
    'The server judges your image in memory and stores it nowhere.',
    '서버는 이미지를 메모리에서만 처리하며 어디에도 저장하지 않습니다.',
    'Serwer ocenia zdjęcie w pamięci i nigdzie go nie zapisuje.',
  ],
  factProofTitle: ['A score is not proof', '점수는 증거가 아닙니다', 'Wynik to nie dowód'],
  factProof: [
    'The network can be wrong. It knows the kinds of fakes it was trained on, and few others.',
    '신경망은 틀릴 수 있습니다. 학습에 쓰인 종류의 가짜는 알아보지만, 그 밖의 것은 거의 알지 못합니다.',
    'Sieć może się mylić. Zna te rodzaje fałszerstw, na których ją trenowano, i niewiele innych.',
  ],
  factOpenTitle: ['Nothing hidden', '숨기는 것이 없습니다', 'Niczego nie ukrywamy'],
  factOpen: [
    'How this model works, how often it errs and where: see Methodology.',
    '모델의 작동 방식과 오류율, 약점은 ‘판별 방법’에서 볼 수 있습니다.',
    'Jak działa ten model, jak często i gdzie się myli: zobacz „Metoda”.',
  ],
  waiting: ['Waiting', '대기 중', 'Czeka'],
  uploading: ['Uploading', '올리는 중', 'Wysyłanie'],
  analysing: ['Analysing', '분석 중', 'Analiza'],
  uploaded: ['{percent} sent', '{percent} 전송됨', 'Wysłano {percent}'],
  cancel: ['Cancel', '취소', 'Anuluj'],
  checking: ['Checking {name}', '{name} 확인 중', 'Trwa sprawdzanie: {name}'],
  done: ['{name}: {verdict}', '{name}: {verdict}', '{name}: {verdict}'],
  clipboardEmpty: ['There is no image in the clipboard.', '클립보드에 이미지가 없습니다.', 'W schowku nie ma obrazu.'],
  foldersLeft: [
    'A folder cannot be taken; choose the images in it.',
    '폴더는 올릴 수 없습니다. 폴더 안의 이미지를 선택해 주세요.',
    'Nie można dodać folderu; wybierz zdjęcia, które są w środku.',
  ],
  Real: ['Likely real', '진짜일 가능성이 높음', 'Prawdopodobnie prawdziwe'],
  Fake: ['Likely fake', '가짜일 가능성이 높음', 'Prawdopodobnie fałszywe'],
  Unsure: ['Unsure', '판단하기 어려움', 'Brak pewności'],
  judged: ['Verdict on {name}', '{name} 판별 결과', 'Ocena zdjęcia {name}'],
  score: ['Score', '점수', 'Wynik'],
  scoreOf: ['Score: {percent}', '점수: {percent}', 'Wynik: {percent}'],
  scoreAbout: ['0% real, 100% fake', '0% 진짜, 100% 가짜', '0% prawdziwe, 100% fałszywe'],
  noScore: [
    'No score: this model found nothing in the picture that it can judge.',
    '점수 없음: 이 모델이 판별할 수 있는 것을 사진에서 찾지 못했습니다.',
    'Brak wyniku: model nie znalazł na zdjęciu niczego, co potrafi ocenić.',
  ],
  bandAll: ['any score', '모든 점수', 'każdy wynik'],
  bandBelow: ['below {to}', '{to} 미만', 'poniżej {to}'],
  bandBetween: ['{from} to below {to}', '{from} 이상 {to} 미만', 'od {from} do poniżej {to}'],
  bandFrom: ['{from} and above', '{from} 이상', '{from} i więcej'],
  proof: ['A score is not proof.', '점수는 증거가 아닙니다.', 'Wynik to nie dowód.'],
  proofMore: [
    'Do not decide anything about a person with it alone.',
    '이 점수만으로 사람에 대해 아무것도 결정하지 마세요.',
    'Nie podejmuj na jego podstawie żadnych decyzji o człowieku.',
  ],
  trainedOn: ['What this model was trained on', '이 모델의 학습 데이터', 'Na czym trenowano ten model'],
  faces: ['Faces', '얼굴', 'Twarze'],
  face: ['Face {number}', '얼굴 {number}', 'Twarz {number}'],
  facesRule: [
    'The picture gets the highest score of its faces. It is called fake only if that score stands out among so many.',
    '사진의 점수는 얼굴 점수 가운데 가장 높은 값입니다. 그 점수가 이만큼 많은 얼굴 가운데에서도 두드러질 때만 가짜로 판정합니다.',
    'Wynikiem zdjęcia jest najwyższy z wyników twarzy. Za fałszywe uznajemy je tylko wtedy, gdy ten wynik wyróżnia się wśród tylu twarzy.',
  ],
  notes: ['Notes', '참고', 'Uwagi'],
  details: ['Details', '자세히', 'Szczegóły'],
  picture: ['Picture', '사진', 'Zdjęcie'],
  architecture: ['Network', '신경망', 'Sieć'],
  checksum: ['Model file, SHA-256', '모델 파일 SHA-256', 'Plik modelu, SHA-256'],
  another: ['Check another image', '다른 이미지 확인', 'Sprawdź inne zdjęcie'],
  again: ['Try again', '다시 시도', 'Spróbuj ponownie'],
  againWith: ['Check again with {model}', '{model} 모델로 다시 확인', 'Sprawdź ponownie modelem {model}'],
  preview: ['The image {name}', '이미지 {name}', 'Zdjęcie {name}'],
  boxed: [
    'The image {name}, with a frame around each face that was found',
    '찾아낸 얼굴마다 테두리를 그린 이미지 {name}',
    'Zdjęcie {name} z ramką wokół każdej znalezionej twarzy',
  ],
  noPreview: [
    'This browser cannot show this kind of file.',
    '이 브라우저에서는 이 형식의 파일을 표시할 수 없습니다.',
    'Ta przeglądarka nie potrafi wyświetlić pliku tego rodzaju.',
  ],
  noBoxes: [
    'The frames of the faces are left out: this browser turns the picture another way than the server does.',
    '브라우저와 서버가 사진을 서로 다른 방향으로 읽어 얼굴 테두리를 표시하지 않았습니다.',
    'Ramki twarzy pominięto: przeglądarka obraca to zdjęcie inaczej niż serwer.',
  ],
  heatShow: ['Show the heat map', '히트맵 보기', 'Pokaż mapę ciepła'],
  heat: ['Heat map', '히트맵', 'Mapa ciepła'],
  heatBusy: ['Drawing the heat map', '히트맵을 그리는 중', 'Rysowanie mapy ciepła'],
  heatAlt: ['Heat map of the image {name}', '이미지 {name}의 히트맵', 'Mapa ciepła zdjęcia {name}'],
  heatAbout: [
    'Bright areas are what this network took for signs of a fake; they do not show where a picture was changed, and prove nothing.',
    '밝은 부분은 신경망이 가짜의 흔적으로 본 곳일 뿐, 사진의 어디가 바뀌었는지를 보여 주거나 무언가를 증명하지는 않습니다.',
    'Jasne obszary to te, w których sieć dopatrzyła się śladów fałszerstwa; nie pokazują, gdzie zdjęcie zmieniono, i niczego nie dowodzą.',
  ],
  heatFailed: ['No heat map', '히트맵 없음', 'Brak mapy ciepła'],
  images: ['Images', '이미지', 'Zdjęcia'],
  progress: ['{done} of {total} checked', '{total}개 중 {done}개 확인됨', 'Sprawdzono {done} z {total}'],
  failed: ['Not judged', '판별하지 못함', 'Nie oceniono'],
  'error.network': [
    'The server cannot be reached. Check the connection, then try again.',
    '서버에 연결할 수 없습니다. 네트워크를 확인한 뒤 다시 시도해 주세요.',
    'Nie można połączyć się z serwerem. Sprawdź połączenie i spróbuj ponownie.',
  ],
  'error.timeout': [
    'The server took too long to answer. Try again in a moment.',
    '서버의 응답이 너무 오래 걸립니다. 잠시 후 다시 시도해 주세요.',
    'Serwer zbyt długo nie odpowiada. Spróbuj ponownie za chwilę.',
  ],
  'error.unreachable': [
    'The server is not available at the moment. Try again in a minute.',
    '지금은 서버를 이용할 수 없습니다. 잠시 후 다시 시도해 주세요.',
    'Serwer jest chwilowo niedostępny. Spróbuj ponownie za minutę.',
  ],
  'error.bad-answer': [
    'The server answered with something this page does not understand.',
    '서버가 이 페이지에서 이해할 수 없는 응답을 보냈습니다.',
    'Serwer odpowiedział w sposób niezrozumiały dla tej strony.',
  ],
  'error.unknown': ['The server refused this image.', '서버가 이 이미지를 거부했습니다.', 'Serwer odrzucił to zdjęcie.'],
  'error.empty-file': ['The file is empty.', '빈 파일입니다.', 'Plik jest pusty.'],
  'error.too-large': [
    'The file is larger than the server takes. Save the picture smaller, then try again.',
    '파일이 서버의 한도보다 큽니다. 사진 크기를 줄인 뒤 다시 시도해 주세요.',
    'Plik przekracza limit serwera. Zapisz zdjęcie w mniejszym rozmiarze i spróbuj ponownie.',
  ],
  'error.unsupported-type': [
    'This is not a picture of a kind the server reads. Save it as JPEG or PNG.',
    '서버가 읽을 수 있는 종류의 사진이 아닙니다. JPEG나 PNG로 저장해 주세요.',
    'To nie jest obraz, który serwer potrafi odczytać. Zapisz go jako JPEG lub PNG.',
  ],
  'error.damaged-image': [
    'The picture is damaged or cut short.',
    '사진 파일이 손상되었거나 일부가 잘려 있습니다.',
    'Obraz jest uszkodzony lub niekompletny.',
  ],
  'error.too-many-pixels': [
    'The picture has too many pixels. Save it smaller, then try again.',
    '사진의 픽셀 수가 너무 많습니다. 크기를 줄인 뒤 다시 시도해 주세요.',
    'Obraz ma za dużo pikseli. Zapisz go w mniejszym rozmiarze i spróbuj ponownie.',
  ],
  'error.too-small': [
    'The picture is too small to judge.',
    '사진이 너무 작아 판별할 수 없습니다.',
    'Obraz jest za mały, aby go ocenić.',
  ],
  'error.bad-aspect': [
    'The picture is too long and narrow to judge. Cut out the part with the face.',
    '사진이 너무 길고 좁아 판별할 수 없습니다. 얼굴 부분만 잘라 주세요.',
    'Obraz jest zbyt długi i wąski, aby go ocenić. Wytnij fragment z twarzą.',
  ],
  'error.unsupported-mode': [
    'The picture stores its colours in a way that is not supported. Save it with 8 bits a colour.',
    '지원하지 않는 색상 방식의 사진입니다. 색상당 8비트로 저장해 주세요.',
    'Obraz zapisuje kolory w nieobsługiwany sposób. Zapisz go z 8 bitami na kolor.',
  ],
  'error.unknown-model': [
    'The server has no model of this name. Load the page again.',
    '서버에 이 이름의 모델이 없습니다. 페이지를 새로 고쳐 주세요.',
    'Serwer nie ma modelu o tej nazwie. Odśwież stronę.',
  ],
  'error.busy': [
    'The server is busy with other images. Try again in a few seconds.',
    '서버가 다른 이미지를 처리하고 있습니다. 몇 초 후 다시 시도해 주세요.',
    'Serwer zajmuje się innymi zdjęciami. Spróbuj ponownie za kilka sekund.',
  ],
  'error.too-many-requests': [
    'Too many images in a short time. Try again in a minute.',
    '짧은 시간에 너무 많은 이미지를 보냈습니다. 1분 후 다시 시도해 주세요.',
    'Za dużo zdjęć w krótkim czasie. Spróbuj ponownie za minutę.',
  ],
  'error.not-ready': [
    'The model is still being loaded. Try again in a few seconds.',
    '아직 모델을 불러오는 중입니다. 몇 초 후 다시 시도해 주세요.',
    'Model jest jeszcze wczytywany. Spróbuj ponownie za kilka sekund.',
  ],
  'error.internal': [
    'The server failed at this image. This is a fault of the server, not of your picture.',
    '서버가 이 이미지를 처리하지 못했습니다. 사진이 아니라 서버의 문제입니다.',
    'Serwer nie poradził sobie z tym zdjęciem. To błąd serwera, nie zdjęcia.',
  ],
  'error.not-explainable': [
    'This model cannot draw a heat map.',
    '이 모델은 히트맵을 그릴 수 없습니다.',
    'Ten model nie potrafi narysować mapy ciepła.',
  ],
  'error.no-heat-map': [
    'There is nothing in this picture to draw a heat map of.',
    '이 사진에는 히트맵을 그릴 대상이 없습니다.',
    'Na tym zdjęciu nie ma nic, dla czego można narysować mapę ciepła.',
  ],
  methodLead: [
    'How this model comes to a verdict, how well it did, and where it fails. All of it is read from the model itself.',
    '이 모델이 어떻게 판별하는지, 얼마나 정확했는지, 어디에서 틀리는지 설명합니다. 모두 모델에 기록된 내용입니다.',
    'Jak ten model dochodzi do oceny, jak dobrze sobie radził i gdzie zawodzi. Wszystko odczytano z samego modelu.',
  ],
  methodNone: [
    'What is known about the model could not be fetched.',
    '모델 정보를 가져오지 못했습니다.',
    'Nie udało się pobrać informacji o modelu.',
  ],
  steps: ['From a picture to a verdict', '사진에서 판별까지', 'Od zdjęcia do oceny'],
  stepOpen: [
    'The picture is recognised by its content, never by its name, turned upright and read as plain colours.',
    '파일 이름이 아니라 내용으로 사진을 인식하고, 똑바로 돌려 단순한 색상 값으로 읽습니다.',
    'Obraz jest rozpoznawany po zawartości, nigdy po nazwie, obracany do pionu i odczytywany jako zwykłe kolory.',
  ],
  stepFace: [
    'Faces are searched. Each is cut out as a square and brought to {size} × {size} pixels.',
    '얼굴을 찾아 하나씩 정사각형으로 잘라 내고 {size} × {size} 픽셀로 맞춥니다.',
    'Wyszukiwane są twarze. Każda jest wycinana jako kwadrat i sprowadzana do {size} × {size} pikseli.',
  ],
  stepCrop: [
    'The middle of the picture, {size} × {size} pixels, is taken as it is. What lies around it is not looked at.',
    '사진의 가운데 {size} × {size} 픽셀을 그대로 사용합니다. 그 바깥은 보지 않습니다.',
    'Brany jest środek zdjęcia, {size} × {size} pikseli, bez zmian. To, co leży dookoła, nie jest oglądane.',
  ],
  stepResize: [
    'The whole picture is brought to {size} × {size} pixels.',
    '사진 전체를 {size} × {size} 픽셀로 맞춥니다.',
    'Całe zdjęcie jest sprowadzane do {size} × {size} pikseli.',
  ],
  stepNetwork: [
    'The network {arch} turns those pixels into a score from 0% (real) to 100% (fake).',
    '신경망 {arch}이(가) 그 픽셀을 0%(진짜)에서 100%(가짜)까지의 점수로 바꿉니다.',
    'Sieć {arch} zamienia te piksele na wynik od 0% (prawdziwe) do 100% (fałszywe).',
  ],
  stepHighest: [
    'Of several faces, the highest score counts.',
    '얼굴이 여럿이면 가장 높은 점수를 씁니다.',
    'Przy kilku twarzach liczy się najwyższy wynik.',
  ],
  stepVerdict: ['Thresholds turn the score into words:', '기준값에 따라 점수를 말로 옮깁니다.', 'Progi zamieniają wynik na słowa:'],
  data: ['Training', '학습', 'Trening'],
  quality: ['How well it did', '정확도', 'Jak dobrze sobie radził'],
  weak: ['Known weak spots', '알려진 약점', 'Znane słabości'],
  weakUnknown: [
    'The model names none. It has some all the same.',
    '모델에 기록된 약점은 없습니다. 그렇다고 약점이 없는 것은 아닙니다.',
    'Model żadnych nie podaje. Nie znaczy to, że ich nie ma.',
  ],
  trained: ['Trained on {train} images.', '이미지 {train}장으로 학습했습니다.', 'Liczba zdjęć w treningu: {train}.'],
  trainedChosen: [
    'Trained on {train} images, and chosen by how it did on {validation} others.',
    '이미지 {train}장으로 학습했고, 다른 {validation}장에서의 성적을 기준으로 골랐습니다.',
    'Liczba zdjęć w treningu: {train}; model wybrano według wyników na {validation} innych.',
  ],
  trainedElse: [
    'It may be wrong about every other kind of fake.',
    '다른 종류의 가짜에 대해서는 틀릴 수 있습니다.',
    'Przy każdym innym rodzaju fałszerstwa może się mylić.',
  ],
  trainedUnknown: [
    'The model file does not say what it was trained on.',
    '무엇으로 학습했는지 모델 파일에 기록되어 있지 않습니다.',
    'Plik modelu nie podaje, na czym go trenowano.',
  ],
  calibrated: [
    'Its scores are calibrated: of many pictures that score 80%, about eight in ten were fake where that was measured.',
    '점수가 보정되어 있습니다. 측정에 쓴 사진 가운데 점수가 80%인 것은 열에 여덟이 가짜였습니다.',
    'Wyniki są skalibrowane: tam, gdzie to mierzono, spośród zdjęć z wynikiem 80% fałszywe było około osiem na dziesięć.',
  ],
  uncalibrated: [
    'Its scores are not calibrated: 80% does not mean that eight of ten such pictures are fake.',
    '점수가 보정되어 있지 않습니다. 80%라고 해서 그런 사진 열 장 가운데 여덟 장이 가짜라는 뜻은 아닙니다.',
    'Wyniki nie są skalibrowane: 80% nie oznacza, że osiem na dziesięć takich zdjęć jest fałszywych.',
  ],
  flattering: [
    'Measured on the {n} images by which this model was chosen, so the figures flatter it. On other kinds of pictures it does worse.',
    '이 모델을 고르는 데 쓴 이미지 {n}장에서 측정했으므로 실제보다 좋게 나온 값입니다. 다른 종류의 사진에서는 이보다 낮습니다.',
    'Zmierzone na zdjęciach ({n}), według których wybrano ten model, więc liczby mu schlebiają. Na innych zdjęciach radzi sobie gorzej.',
  ],
  started: ['Date', '날짜', 'Data'],
  epoch: ['Epochs', '학습 에폭', 'Epoki'],
  recipe: ['Recipe', '학습 방식', 'Przepis'],
  pretrained: ['Started from', '시작 가중치', 'Punkt wyjścia'],
  forTraining: ['Images to learn from', '학습용 이미지', 'Zdjęcia do nauki'],
  forChoosing: ['Images to choose by', '선택용 이미지', 'Zdjęcia do wyboru modelu'],
  accuracy: ['Accuracy', '정확도', 'Dokładność'],
  precision: [
    'Precision (of those called fake, share that are)',
    '정밀도(가짜라고 한 것 중 실제 가짜의 비율)',
    'Precyzja (ile z uznanych za fałszywe takie jest)',
  ],
  recall: ['Recall (of the fakes, share that were found)', '재현율(가짜 중 찾아낸 비율)', 'Czułość (ile z fałszywych znaleziono)'],
  f1: ['F1', 'F1', 'F1'],
  auc: ['AUC (0.5 is chance, 1 is perfect)', 'AUC(0.5는 우연, 1은 완벽)', 'AUC (0,5 to przypadek, 1 to ideał)'],
  confusion: ['What was called what', '판별 결과표', 'Co za co uznano'],
  truth: ['In truth', '실제', 'W rzeczywistości'],
  unknown: ['The model does not say.', '모델에 기록되어 있지 않습니다.', 'Model tego nie podaje.'],
  aboutLead: [
    'This page lets a trained detector look at a photograph and tells you what it saw, with its doubts.',
    '이 페이지에서는 학습된 탐지기가 사진을 살펴보고, 무엇을 보았는지를 그 한계와 함께 알려 드립니다.',
    'Na tej stronie wytrenowany detektor ogląda zdjęcie i mówi, co zobaczył, razem ze swoimi wątpliwościami.',
  ],
  aboutImageTitle: ['What happens to your image', '이미지는 어떻게 처리되나요', 'Co się dzieje ze zdjęciem'],
  aboutImage: [
    'It travels to the server this page came from, is opened in memory, judged and forgotten. Nothing is written to disk. The log keeps the beginning of the file’s checksum, its format and size, the verdict and the time taken: no file name, nothing from inside the photograph, no address.',
    '이미지는 이 페이지를 제공한 서버로 전송되어 메모리에서 열리고, 판별된 뒤 사라집니다. 디스크에는 아무것도 저장되지 않습니다. 로그에는 파일 체크섬의 앞부분, 형식과 크기, 판별 결과, 걸린 시간만 남습니다. 파일 이름, 사진 속 정보, 주소는 남지 않습니다.',
    'Trafia na serwer, z którego pochodzi ta strona, jest otwierane w pamięci, oceniane i zapominane. Nic nie jest zapisywane na dysku. W dzienniku zostaje początek sumy kontrolnej pliku, jego format i rozmiar, ocena oraz czas: bez nazwy pliku, bez danych z wnętrza zdjęcia i bez adresu.',
  ],
  aboutUseTitle: ['What it is for, and what not', '쓸 수 있는 곳과 없는 곳', 'Do czego to służy, a do czego nie'],
  aboutUse: [
    'It is one hint among others. A detector knows the fakes it was trained on; new generators, strong compression, filters and heavy retouching mislead it in both directions. A wrong verdict about a person’s photograph can do harm.',
    '여러 단서 가운데 하나일 뿐입니다. 탐지기는 학습한 종류의 가짜만 압니다. 새로운 생성기, 강한 압축, 필터, 심한 보정은 탐지기를 어느 쪽으로든 속일 수 있습니다. 사람의 사진에 대한 잘못된 판별은 피해를 줄 수 있습니다.',
    'To jedna wskazówka spośród wielu. Detektor zna fałszerstwa, na których go trenowano; nowe generatory, silna kompresja, filtry i mocny retusz wprowadzają go w błąd w obie strony. Błędna ocena czyjegoś zdjęcia może wyrządzić krzywdę.',
  ],
  licence: [
    'Free to use, change and pass on (MIT licence). Parts made by others: {link}',
    '누구나 사용하고 고치고 배포할 수 있습니다(MIT 라이선스). 다른 사람이 만든 부분: {link}',
    'Wolno używać, zmieniać i przekazywać dalej (licencja MIT). Części innych autorów: {link}',
  ],
  aboutApiTitle: ['For programs', '프로그램에서 쓰기', 'Dla programów'],
  aboutApi: [
    'The same judgement is available over HTTP:',
    'HTTP로도 똑같이 판별할 수 있습니다.',
    'Ta sama ocena jest dostępna przez HTTP:',
  ],
  aboutApiMore: ['Its description: {link}', '설명서: {link}', 'Opis: {link}'],
} as const satisfies Record<string, Row>

export type Key = keyof typeof STRINGS
export const KEYS = Object.keys(STRINGS) as Key[]

export const LANGUAGES = { en: 'English', ko: '한국어', pl: 'Polski' }
export type Language = keyof typeof LANGUAGES
const ORDER = Object.keys(LANGUAGES)

export const isLanguage = (name: string): name is Language => Object.hasOwn(LANGUAGES, name)
export const isKey = (name: string): name is Key => Object.hasOwn(STRINGS, name)

/** A string with its {places} filled. */
export function text(language: Language, key: Key, values: Record<string, string | number> = {}): string {
  const row: Row = STRINGS[key]
  const words = row[ORDER.indexOf(language)] as string
  return words.replace(/\{(\w+)\}/g, (place, name: string) => String(values[name] ?? place))
}
